import type { ReplayState } from '../replay.js';
import type { History, Proposal } from './history.js';
import { ageMs } from './store-clock.js';
import type { Survey } from './survey.js';

/**
 * Versions that should expire, of a log replayed so far. Asked again with a longer log each time a slot is lost, so it
 * must depend on nothing else. `nowMs` is the store's time, and so is the `timeMs` of each version.
 */
export type ExpiryPolicy = (state: ReplayState, nowMs: number) => readonly number[];

export interface ProposalParts {
  readonly history: History;
  readonly survey: Survey;
  /** Versions that live stages are built on: they stay, whatever a policy says. */
  readonly bases: ReadonlySet<number>;
  readonly policy: ExpiryPolicy;
  readonly nowMs: number;
  readonly deadAfterMs: number;
}

export function propose(parts: ProposalParts): Proposal {
  return { expire: versionsToExpire(parts), abandon: deadStages(parts) };
}

function versionsToExpire({ history, survey, bases, policy, nowMs }: ProposalParts): number[] {
  const { state } = history;
  const versions = state.versions.map((version) => ({
    ...version,
    timeMs: survey.recordTimes.get(version.seq) ?? nowMs,
  }));
  return [...new Set(policy({ ...state, versions }, nowMs))]
    .filter((version) => state.versions[version]?.expired === false && !bases.has(version))
    .sort((a, b) => a - b);
}

/** Stages that are neither published nor abandoned, and of which the store has heard nothing for long. */
function deadStages({
  history,
  survey,
  nowMs,
  deadAfterMs,
}: Pick<ProposalParts, 'history' | 'survey' | 'nowMs' | 'deadAfterMs'>): string[] {
  const lastSeen = new Map<string, number>(survey.leaseTimes);
  for (const { stageId, modifiedMs } of survey.objects)
    lastSeen.set(stageId, Math.max(lastSeen.get(stageId) ?? 0, modifiedMs));
  const { committedBy, abandonedBy } = history;
  return [...lastSeen]
    .filter(([stageId, seenMs]) => {
      if (committedBy.has(stageId) || abandonedBy.has(stageId)) return false;
      return ageMs(nowMs, seenMs) >= deadAfterMs;
    })
    .map(([stageId]) => stageId)
    .sort();
}
