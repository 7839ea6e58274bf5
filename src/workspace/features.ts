import { ArtifactError } from '../model/errors.js';

/**
 * Features this build understands, by what one needs them for. A workspace (format.json) or an artifact (`feature`
 * records) may name more: an unknown reader feature means its content cannot be read, an unknown writer feature that
 * it must not be changed, an unknown gc feature that nothing may be deleted.
 */
const knownFeatures: FeatureSet = { reader: [], writer: [], gc: [] };

export interface FeatureSet {
  readonly reader: readonly string[];
  readonly writer: readonly string[];
  readonly gc: readonly string[];
}

const unknownFeatures = (named: FeatureSet): FeatureSet => ({
  reader: named.reader.filter((feature) => !knownFeatures.reader.includes(feature)),
  writer: named.writer.filter((feature) => !knownFeatures.writer.includes(feature)),
  gc: named.gc.filter((feature) => !knownFeatures.gc.includes(feature)),
});

export const isReadable = (named: FeatureSet): boolean => unknownFeatures(named).reader.length === 0;

/** Throws `UnsupportedFormat` when `where` names reader features this build does not know. */
export function requireReadable(where: string, named: FeatureSet): void {
  const { reader } = unknownFeatures(named);
  if (reader.length > 0) throw unsupported(where, 'read', reader);
}

/** The same for changing it: every unknown reader or writer feature forbids that. */
export function requireWritable(where: string, named: FeatureSet): void {
  requireReadable(where, named);
  const { writer } = unknownFeatures(named);
  if (writer.length > 0) throw unsupported(where, 'change', writer);
}

/** The same for deleting what nobody needs: every unknown feature forbids that. */
export function requireCollectable(where: string, named: FeatureSet): void {
  requireWritable(where, named);
  const { gc } = unknownFeatures(named);
  if (gc.length > 0) throw unsupported(where, 'delete anything in', gc);
}

const unsupported = (where: string, verb: string, features: readonly string[]) =>
  new ArtifactError(
    'UnsupportedFormat',
    `${where} needs features that this artifactfs does not have to ${verb} it: ${features.join(', ')}`,
    { hint: 'install a newer artifactfs on this machine', features },
  );
