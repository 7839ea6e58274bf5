import { randomUUID } from 'node:crypto';
import { ArtifactError, isCode } from '../model/errors.js';
import { backoffMs, pause } from './backoff.js';
import type { CallOptions, ObjectStore, ProbeOptions, StoreCapabilities } from './object-store.js';

const racersCount = 8;
const busyRetriesMax = 5;
const cleanUpAttemptsMax = 3;
/** Of one question, while the store does not answer. */
const attemptsMax = 5;
/** Probe keys older than this were left by a probe that was cut off. */
const leftoverAgeMsMin = 3_600_000;

/**
 * What `ObjectStore.probe` promises, by means of the port itself. Every run uses fresh keys, so it may be repeated
 * and run beside others. Throws when the store cannot be read at all; denied writes make it not writable.
 */
export async function probeStore(
  store: ObjectStore,
  known: { readonly presign: boolean },
  options?: ProbeOptions,
): Promise<StoreCapabilities> {
  const folder = `.probe/${randomUUID()}`;
  const first = `${folder}/first`;
  const body = Buffer.from(`${folder}\n`);
  // As long as the first: where it replaces that, parts can be copied all the same.
  const second = Buffer.alloc(body.length, 'second\n');
  const writable = await canWrite(store, first, body, options);
  if (!writable) return { writable, createIfAbsent: false, copyPart: false, presign: known.presign };

  const racers = Array.from({ length: racersCount }, (_, i) => Buffer.from(`racer ${i}\n`));
  const races: string[] = [];
  let leftovers: string[] = [];
  try {
    const tests = [
      checkContent(store, first, [body, second], options),
      repeated(() => createWins(store, first, second, options)).then((won) => !won),
      oneWinner(store, folder, racers, races, options),
      options?.copies !== false && canCopyPart(store, first, body.length, options),
      repeated(() => findLeftovers(store, first, options)),
    ] as const;
    await Promise.allSettled(tests); // nothing may be under way when the keys are deleted
    const [, refused, hasOne, copyPart, found] = await Promise.all(tests);
    leftovers = found;
    return { writable, createIfAbsent: refused && hasOne, copyPart, presign: known.presign };
  } finally {
    await cleanUpProbe(store, [first, ...races, ...leftovers]);
  }
}

async function canWrite(
  store: ObjectStore,
  key: string,
  body: Buffer,
  options: CallOptions | undefined,
): Promise<boolean> {
  try {
    await store.put(key, body, options);
    return true;
  } catch (error) {
    if (!isCode(error, 'StoreDenied')) throw error;
    try {
      for await (const _ of store.list('.probe/', options)) break;
    } catch (listError) {
      throw isCode(listError, 'StoreDenied') ? error : listError; // wrong keys: the first refusal tells
    }
    return false;
  }
}

/** By the store's own clock. */
async function findLeftovers(
  store: ObjectStore,
  first: string,
  options: CallOptions | undefined,
): Promise<string[]> {
  const { modifiedMs: now } = await store.head(first, options);
  const leftovers: string[] = [];
  for await (const { key, modifiedMs } of store.list('.probe/', options))
    if (modifiedMs < now - leftoverAgeMsMin) leftovers.push(key);
  return leftovers;
}

/** What cannot be deleted now stays for a later probe, and a store that denies deletion can still be committed to. */
export async function cleanUpProbe(store: ObjectStore, keys: readonly string[]): Promise<void> {
  for (let attempt = 1; attempt <= cleanUpAttemptsMax; attempt++) {
    try {
      return await store.deleteMany(keys);
    } catch (error) {
      if (isCode(error, 'StoreDenied')) return;
      if (!isCode(error, 'StoreUnavailable')) throw error;
    }
  }
}

/** A racer whose answer is lost may have won: then nothing is proved, and another race is run. */
async function oneWinner(
  store: ObjectStore,
  folder: string,
  bodies: readonly Buffer[],
  keys: string[],
  options: CallOptions | undefined,
): Promise<boolean> {
  return repeated(() => {
    const key = `${folder}/race${keys.length}`;
    keys.push(key);
    return hasOneWinner(store, key, bodies, options);
  });
}

/** Asks again, after a while, when the store does not answer. */
export async function repeated<T>(run: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await run();
    } catch (error) {
      if (!isCode(error, 'StoreUnavailable') || attempt === attemptsMax) throw error;
    }
    await pause(backoffMs(attempt, {}), undefined);
  }
}

async function hasOneWinner(
  store: ObjectStore,
  key: string,
  bodies: readonly Buffer[],
  options: CallOptions | undefined,
): Promise<boolean> {
  const races = bodies.map((body) => createWins(store, key, body, options));
  await Promise.allSettled(races);
  const wins = await Promise.all(races);
  if (wins.filter(Boolean).length !== 1) return false;
  await checkContent(
    store,
    key,
    bodies.filter((_, i) => wins[i]),
    options,
  );
  return true;
}

async function createWins(
  store: ObjectStore,
  key: string,
  body: Buffer,
  options: CallOptions | undefined,
): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    try {
      await store.putIfAbsent(key, body, options);
      return true;
    } catch (error) {
      if (isCode(error, 'Exists', 'Unsupported')) return false;
      if (!isCode(error, 'Busy') || attempt === busyRetriesMax) throw error;
    }
  }
}

async function checkContent(
  store: ObjectStore,
  key: string,
  allowed: readonly Buffer[],
  options: CallOptions | undefined,
): Promise<void> {
  const isRight = async (): Promise<boolean> => {
    const found = await repeated(() => store.get(key, undefined, options));
    return allowed.some((body) => body.equals(found));
  };
  // An answer may be damaged on its way, where nothing checks that: it is not believed at once.
  if (!(await isRight()) && !(await isRight()))
    throw new ArtifactError('Corrupt', `${store.url} does not give back what was written to it`);
}

async function canCopyPart(
  store: ObjectStore,
  key: string,
  length: number,
  options: CallOptions | undefined,
): Promise<boolean> {
  const target = `${key}-copy`;
  let uploadId: string | null = null;
  try {
    uploadId = await store.createMultipart(target, options);
    await store.copyPart(target, uploadId, 1, { key, offset: 0, length }, options);
    return true;
  } catch (error) {
    if (isCode(error, 'Unsupported')) return false;
    throw error;
  } finally {
    const id = uploadId;
    if (id !== null) await repeated(() => store.abortMultipart(target, id, options));
    else await abortUnknown(store, target);
  }
}

/** An upload may have been begun though the answer was lost. What cannot be found stays for the store to expire. */
async function abortUnknown(store: ObjectStore, target: string): Promise<void> {
  try {
    for (const { key, uploadId } of await store.unfinishedUploads(target))
      await store.abortMultipart(key, uploadId);
  } catch {}
}
