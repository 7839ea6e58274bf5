import { realpath } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { type DaemonRecord, daemonAt, runningDaemons } from '../app/registry.js';
import type { ControlClient } from '../http/client.js';
import type { Resolved } from '../http/schemas.js';
import { ArtifactError, isCode } from '../model/errors.js';
import { within } from '../util/within.js';
import type { VerbContext } from './context.js';
import { connectTo, openSession, type Session, type SessionOptions } from './session.js';

/** What an argument means: an artifact, a version of it, a path inside it, and the session that serves it. */
export interface Target extends Resolved, AsyncDisposable {
  readonly client: ControlClient;
  readonly session: Session;
  /** As the user wrote it, or the place of the working directory: for messages. */
  readonly shown: string;
}

/**
 * Finds what `argument` means:
 * - an absolute path, or one that begins with `.`: a path inside a mount;
 * - other text, with the working directory inside a mount and no --store: a path from there, or else names from the
 *   workspace's root, whichever exists;
 * - other text that, from the working directory, leads into a mount: a path too;
 * - other text elsewhere: names from the root of the workspace that the settings name;
 * - nothing: the working directory, or the root.
 */
export async function openTarget(
  context: VerbContext,
  argument: string | undefined,
  options: SessionOptions = {},
): Promise<Target> {
  const place = context.flags['store'] === undefined ? await locate(context, argument) : undefined;
  const session = place === undefined ? await openSession(context, options) : connectTo(place.daemon);
  try {
    const resolved =
      place === undefined
        ? await session.client.resolve(argument ?? '')
        : await resolveAt(session.client, place.candidates);
    const shown = argument ?? (resolved.artifact === '' ? 'the root collection' : resolved.artifact);
    return {
      ...resolved,
      client: session.client,
      session,
      shown,
      [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
    };
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}

/** What another argument means in the same session. */
export async function resolveBeside(
  context: VerbContext,
  { client }: Target,
  argument: string,
): Promise<Resolved> {
  const place = context.flags['store'] === undefined ? await locate(context, argument) : undefined;
  return place === undefined ? client.resolve(argument) : resolveAt(client, place.candidates);
}

/** The workspace of the working directory's mount, or else of the settings. */
export async function openSessionHere(context: VerbContext): Promise<Session> {
  const place = context.flags['store'] === undefined ? await locate(context, undefined) : undefined;
  return place === undefined ? openSession(context) : connectTo(place.daemon);
}

/** The same where a whole artifact is meant, not a file in it. */
export async function openArtifact(context: VerbContext, argument: string | undefined): Promise<Target> {
  const target = await openTarget(context, argument);
  try {
    if (target.path === '' || argument === undefined) return { ...target, path: '' };
    // Inside an artifact, any path in it selects it, as in git.
    if (!target.isCollection && target.session.daemon !== null && isPathLike(argument))
      return { ...target, path: '' };
    throw notAnArtifact(target);
  } catch (error) {
    await target[Symbol.asyncDispose]();
    throw error;
  }
}

export function notAnArtifact({ artifact, path, near }: Resolved): ArtifactError {
  const whole = artifact === '' ? path : `${artifact}/${path}`;
  return new ArtifactError('NotFound', `no artifact '${whole}'`, {
    ...(near === null ? {} : { hint: `did you mean '${artifact === '' ? near : `${artifact}/${near}`}'?` }),
  });
}

/** A place in a mount. */
export interface Place {
  readonly daemon: DaemonRecord;
  /** Paths of names from the root, the preferred one first. */
  readonly candidates: readonly string[];
}

/** Where `argument` is in a mount; undefined when it is in none, and so is of the workspace that the settings name. */
export async function locate(context: VerbContext, argument: string | undefined): Promise<Place | undefined> {
  const daemons = await runningDaemons(context.env);
  if (argument !== undefined && isPathLike(argument)) {
    const path = resolve(context.cwd, argument);
    const found = (await mountOf(daemons, path)) ?? (await mountOf(daemons, await realPathOf(path)));
    if (found !== undefined) return { daemon: found.daemon, candidates: [found.inside] };
    throw new ArtifactError('NotFound', `${path} is in no mount of a running daemon`, {
      hint: 'artifactfs status lists the mounts; names of artifacts are written without a leading / or ./',
    });
  }
  const here = await mountOf(daemons, context.cwd);
  if (here === undefined) {
    // `artifactfs log mnt/my-model` beside the mount point: the path says it all.
    const inside =
      argument === undefined ? undefined : await mountOf(daemons, resolve(context.cwd, argument));
    return inside === undefined ? undefined : { daemon: inside.daemon, candidates: [inside.inside] };
  }
  if (argument === undefined) return { daemon: here.daemon, candidates: [here.inside] };
  const fromHere = join(here.inside, argument);
  return { daemon: here.daemon, candidates: here.inside === '' ? [argument] : [fromHere, argument] };
}

const isPathLike = (text: string) => /^(\/|\.\.?(\/|$))/.test(text);

async function mountOf(
  daemons: readonly DaemonRecord[],
  path: string | undefined,
): Promise<{ daemon: DaemonRecord; inside: string } | undefined> {
  if (path === undefined) return undefined;
  const daemon = daemonAt(daemons, path);
  if (daemon === undefined || daemon.mountPoint === null) return undefined;
  return { daemon, inside: relative(daemon.mountPoint, path) };
}

const realPathMsMax = 2_000;

/** With symlinks followed, also for what does not exist yet. A mount that hangs must not hang us. */
async function realPathOf(path: string): Promise<string | undefined> {
  try {
    return await within(realPathMsMax, realpath(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(path) === path) return undefined;
    const parent = await realPathOf(dirname(path));
    return parent === undefined ? undefined : join(parent, relative(dirname(path), path));
  }
}

/** The first candidate of which something exists wins; else the first, which may be about to be created. */
async function resolveAt(client: ControlClient, candidates: readonly string[]): Promise<Resolved> {
  const [first = '', ...others] = candidates;
  const preferred = await client.resolve(first);
  if (others.length === 0 || (await beginsToExist(client, preferred))) return preferred;
  for (const candidate of others) {
    const resolved = await client.resolve(candidate);
    if (resolved.artifact !== '') return resolved;
  }
  return preferred;
}

async function beginsToExist(client: ControlClient, { artifact, ref, path }: Resolved): Promise<boolean> {
  if (path === '') return true;
  try {
    await client.stat(artifact, ref, path);
    return true;
  } catch (error) {
    if (isCode(error, 'NotFound', 'NotDirectory')) return false;
    throw error;
  }
}
