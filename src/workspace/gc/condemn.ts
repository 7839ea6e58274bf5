import type { History } from './history.js';
import { ageMs } from './store-clock.js';
import type { ListedObject, Survey } from './survey.js';

/** Why nobody needs an object. */
type Why =
  /** Its stage was published, and no version that is alive uses it. */
  | 'unreachable'
  /** Its stage was declared dead. */
  | 'abandoned';

export interface Condemned extends ListedObject {
  readonly why: Why;
}

export interface Amount {
  readonly objects: number;
  readonly bytes: number;
}

/** What is to become of everything that the survey found. */
export interface Verdict {
  /** To be deleted now. */
  readonly condemned: readonly Condemned[];
  /** The same once the grace is over. */
  readonly waiting: Amount;
  /** Used by versions that are alive, or needed by live stages and readers. */
  readonly live: Amount;
  /** Of stages of which nobody knows yet whether they will be published. */
  readonly staged: Amount;
  /** Keys of leases whose stages are over. */
  readonly leases: readonly string[];
}

export interface CondemnParts {
  readonly history: History;
  readonly survey: Survey;
  /** Reached from what is alive at the history's end. */
  readonly live: ReadonlySet<string>;
  /** Reached from versions whose expiry is younger than the grace. */
  readonly recent: ReadonlySet<string>;
  /** Published stages of which live stages may still use objects. */
  readonly heldStages: ReadonlySet<string>;
  readonly nowMs: number;
  readonly graceMs: number;
}

/**
 * Condemns what is unreachable of published stages, and everything of abandoned ones. Such an object stays unreachable
 * whatever is written to the log from here on: committers use only objects of their own stage and of versions that are
 * alive in the record's slot. An object of any other stage may be published by the next record.
 */
export function condemn(parts: CondemnParts): Verdict {
  const { history, survey, live, recent, heldStages } = parts;
  const { committedBy, abandonedBy } = history;
  const condemned: Condemned[] = [];
  const waiting = counter();
  const alive = counter();
  const staged = counter();
  for (const listed of survey.objects) {
    const { object, stageId } = listed;
    const committed = committedBy.get(stageId);
    const over = committed ?? abandonedBy.get(stageId);
    if (live.has(object) || (over !== undefined && heldStages.has(stageId))) alive.add(listed);
    else if (over === undefined) staged.add(listed);
    else if (recent.has(object) || !isPastGrace(parts, listed.modifiedMs, over)) waiting.add(listed);
    else condemned.push({ ...listed, why: committed === undefined ? 'abandoned' : 'unreachable' });
  }
  return {
    condemned,
    waiting: waiting.amount,
    live: alive.amount,
    staged: staged.amount,
    leases: leasesOver(parts),
  };
}

/** The age of a record, as the store tells it; 0 for one that was written after the survey. */
export function recordAgeMs({ survey, nowMs }: Pick<CondemnParts, 'survey' | 'nowMs'>, seq: number): number {
  const writtenMs = survey.recordTimes.get(seq);
  return writtenMs === undefined ? 0 : ageMs(nowMs, writtenMs);
}

function isPastGrace(parts: CondemnParts, modifiedMs: number, seq: number): boolean {
  const { nowMs, graceMs } = parts;
  return recordAgeMs(parts, seq) >= graceMs && ageMs(nowMs, modifiedMs) >= graceMs;
}

/** An owner that is still alive removes its lease by itself, or writes it again in vain. */
function leasesOver({ history, survey, graceMs, nowMs }: CondemnParts): string[] {
  const { committedBy, abandonedBy } = history;
  return [...survey.leaseTimes]
    .filter(([stageId, writtenMs]) => {
      const isOver = committedBy.has(stageId) || abandonedBy.has(stageId);
      return isOver && ageMs(nowMs, writtenMs) >= graceMs;
    })
    .map(([stageId]) => stageId);
}

function counter(): { add: (listed: ListedObject) => void; readonly amount: Amount } {
  let objects = 0;
  let bytes = 0;
  return {
    add: ({ size }) => {
      objects++;
      bytes += size;
    },
    get amount() {
      return { objects, bytes };
    },
  };
}
