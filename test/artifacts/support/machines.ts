import { afterEach, beforeEach, expect } from 'vitest';
import {
  type Machine,
  type MachineOptions,
  openMachine,
  removeTemporaryDirectories,
  unexpected,
} from './daemon.js';
import { GatedStore } from './gated-store.js';

/** The machines of one test over one store. */
export interface Machines<S> {
  readonly store: S;
  /** One more; closed after the test. */
  open(options?: Omit<MachineOptions, 'store'>): Promise<Machine>;
}

/** A new store for each test of a file. After each nothing may have failed in the background that it did not ask for. */
export function machinesOf<S extends GatedStore>(newStore: () => S): Machines<S> {
  let store = newStore();
  let machines: Machine[] = [];
  beforeEach(() => {
    store = newStore();
    machines = [];
  });
  afterEach(async () => {
    for (const machine of machines) await machine.close();
    removeTemporaryDirectories();
    expect(unexpected.splice(0)).toEqual([]);
  });
  return {
    get store() {
      return store;
    },
    async open(options = {}) {
      const machine = await openMachine({ store, ...options });
      machines.push(machine);
      return machine;
    },
  };
}

export const gatedMachines = (): Machines<GatedStore> => machinesOf(() => new GatedStore());
