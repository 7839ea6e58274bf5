import type { Verb } from '../verb.js';
import { alias } from './alias.js';
import { cache } from './cache.js';
import { cat } from './cat.js';
import { commit } from './commit.js';
import { create } from './create.js';
import { diff } from './diff.js';
import { discard } from './discard.js';
import { doctor } from './doctor.js';
import { expire } from './expire.js';
import { exportVerb, importVerb } from './export.js';
import { fsck } from './fsck.js';
import { gc } from './gc.js';
import { get } from './get.js';
import { log } from './log.js';
import { ls } from './ls.js';
import { mount } from './mount.js';
import { mv } from './mv.js';
import { put } from './put.js';
import { refresh } from './refresh.js';
import { restore } from './restore.js';
import { rm } from './rm.js';
import { show } from './show.js';
import { stats } from './stats.js';
import { status } from './status.js';
import { unmount } from './unmount.js';
import { verify } from './verify.js';
import { warm } from './warm.js';

/** In the order of the help. */
export const verbs: readonly Verb[] = [
  mount,
  unmount,
  status,
  stats,
  doctor,
  fsck,
  verify,
  create,
  ls,
  show,
  log,
  diff,
  commit,
  discard,
  refresh,
  alias,
  mv,
  rm,
  restore,
  expire,
  put,
  get,
  cat,
  gc,
  warm,
  exportVerb,
  importVerb,
  cache,
];
