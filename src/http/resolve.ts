import type { Artifact, Artifacts } from '../artifacts/ports.js';
import { ArtifactError } from '../model/errors.js';
import { suggest } from '../util/suggest.js';
import type { Resolved } from './schemas.js';

/**
 * Finds the artifact in a path as a user writes it: `gallery/cells/img/1.png`, `cells@v3/img`, and the mount's
 * `cells/.artifact/versions/v3/img`. The path goes as deep into collections as names are artifacts; the rest
 * is a path inside the last one. Missing names are no error here: what is left over may be about to be created.
 */
export async function resolvePath(artifacts: Artifacts, path: string): Promise<Resolved> {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.includes('..')) throw new ArtifactError('Invalid', `'${path}' leads upward`);
  let artifact = artifacts.root;
  let depth = 0;
  let ref = '';
  for (const name of names) {
    if (!artifact.isCollection || ref !== '' || name.startsWith('.')) break;
    const next = await findChild(artifacts, artifact, name);
    if (next === undefined) break;
    ({ artifact, ref } = next);
    depth++;
  }
  let rest = names.slice(depth);
  if (ref === '' && rest[0] === '.artifact' && rest[1] === 'versions' && rest[2] !== undefined) {
    ref = rest[2];
    rest = rest.slice(3);
  }
  return {
    artifact: artifact.path,
    isCollection: artifact.isCollection,
    ref,
    path: rest.join('/'),
    near: nearName(artifacts, artifact, rest[0]),
  };
}

/** No name holds an '@': what follows one is a version. */
async function findChild(
  artifacts: Artifacts,
  collection: Artifact,
  name: string,
): Promise<{ artifact: Artifact; ref: string } | undefined> {
  const at = name.indexOf('@');
  if (at === 0 || at === name.length - 1) return undefined;
  const artifact = await artifacts.child(collection, at < 0 ? name : name.slice(0, at));
  return artifact === undefined ? undefined : { artifact, ref: at < 0 ? '' : name.slice(at + 1) };
}

const namesComparedMax = 1000;

function nearName(artifacts: Artifacts, artifact: Artifact, missing: string | undefined): string | null {
  if (missing === undefined || !artifact.isCollection) return null;
  return suggest(missing, artifacts.children(artifact, null, namesComparedMax)) ?? null;
}
