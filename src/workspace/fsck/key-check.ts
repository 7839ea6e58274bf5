import type { ObjectInfo } from '../../store/object-store.js';
import { parseKey } from '../keys.js';
import type { ReplayState } from '../replay.js';
import { type Finding, finding, type Place } from './findings.js';
import type { TreeCheck } from './tree-check.js';

/** Of the keys under one artifact, those that nothing uses: by stage, with their number and size. */
export function unreferenced(
  place: Place,
  state: ReplayState,
  keys: readonly ObjectInfo[],
  trees: TreeCheck,
): Finding[] {
  const stages = new Map<string, { first: ObjectInfo; count: number; bytes: number }>();
  const prefixLength = `a/${place.artifactId}/`.length;
  for (const info of keys) {
    const parsed = parseKey(info.key);
    if (parsed?.type !== 'data' && parsed?.type !== 'tree') continue;
    const object = info.key.slice(prefixLength);
    if (trees.dataEnds.has(object) || trees.treeObjects.has(object)) continue;
    const stage = stages.get(parsed.stageId) ?? { first: info, count: 0, bytes: 0 };
    stage.count++;
    stage.bytes += info.size;
    stages.set(parsed.stageId, stage);
  }
  const committed = new Set(state.versions.flatMap((version) => version.stages));
  return [...stages].map(([stageId, { first, count, bytes }]) => {
    const whose = committed.has(stageId)
      ? 'was committed; no live version uses them any more'
      : state.abandonedStages.has(stageId)
        ? 'was abandoned'
        : 'was never committed; somebody may be staging it';
    return finding(place, {
      severity: 'info',
      code: 'unreferenced',
      key: first.key,
      length: bytes,
      what: `${count} objects of ${bytes} bytes are used by no version; their stage ${stageId} ${whose}`,
    });
  });
}

export const foreignKey = ({ key, size }: ObjectInfo): Finding =>
  finding(null, {
    severity: 'info',
    code: 'foreign-key',
    key,
    length: size,
    what: `not of artifactfs: an object of ${size} bytes under the prefix of the workspace`,
    means: 'nobody reads it, and nobody deletes it',
  });
