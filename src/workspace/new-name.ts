import { ArtifactError } from '../model/errors.js';
import { newCommitId, newStageId } from '../model/ids.js';
import type { CallOptions } from '../store/object-store.js';
import { ForgetfulJournal } from './forgetful-journal.js';
import { NamedLogs } from './fsck/named-logs.js';
import { checkArtifactName } from './names.js';
import { applyRecord, emptyArtifactState } from './replay.js';
import type { Workspace } from './workspace.js';

/** A name that nothing has yet. */
export interface NewName {
  readonly collectionId: string;
  readonly name: string;
}

/**
 * Where `path` (names from the root) would be a new artifact. `NotFound` when a collection of it is not there, `Exists` when
 * the name is taken.
 */
export async function findNewName(target: Workspace, path: string, options: CallOptions): Promise<NewName> {
  const names = path.split('/').filter((part) => part !== '');
  const name = names.pop();
  if (name === undefined) throw new ArtifactError('Invalid', 'the copy needs a name');
  checkArtifactName(name);
  const { log, path: rest } = await new NamedLogs(target.store, options).find([names.join('/')]);
  if (rest !== '')
    throw new ArtifactError('NotFound', `${target.store.url} has no collection '${names.join('/')}'`);
  if (log.state.children.has(name)) throw taken(path);
  return { collectionId: log.place.artifactId, name };
}

/** Gives an artifact that is whole its name, for everybody at once. `Exists` when somebody was faster. */
export async function linkNewName(
  target: Workspace,
  { collectionId, name }: NewName,
  artifactId: string,
  options: CallOptions,
): Promise<void> {
  const request = {
    artifactId: collectionId,
    commitId: newCommitId(),
    stageId: newStageId(),
    sinceSeq: 0,
    sincePrev: '',
  };
  await target.append(
    request,
    (since) => {
      const state = emptyArtifactState();
      for (const record of since) applyRecord(state, record);
      if (state.children.has(name)) throw taken(name);
      return { type: 'link', name, artifactId };
    },
    new ForgetfulJournal(),
    options,
  );
}

const taken = (path: string) =>
  new ArtifactError('Exists', `${path} exists already`, { hint: 'choose another name' });
