import { FakeArtifacts } from '../../support/fake-artifacts.js';

/** A new, empty workspace. */
export const newArtifacts = (): FakeArtifacts => new FakeArtifacts();
