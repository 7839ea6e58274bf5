import { ArtifactError, type ErrorCode } from '../../model/errors.js';
import type { CallOptions, LifecycleRule, ObjectStore } from '../../store/object-store.js';
import { mayBeginKey } from '../keys.js';
import { type Finding, finding } from './findings.js';

const endsCheck: ReadonlySet<ErrorCode> = new Set(['Interrupted', 'StoreMissing', 'Internal']);

/** Rules by which the service itself takes objects of the workspace away. That nobody may ask for them is no failure. */
export async function checkLifecycle(store: ObjectStore, options: CallOptions): Promise<Finding[]> {
  try {
    const rules = (await store.lifecycleRules?.(options)) ?? [];
    return rules.filter(({ prefix }) => mayBeginKey(prefix)).map((rule) => told(store, rule));
  } catch (error) {
    // Where it is the store that is away, the next request tells.
    if (!(error instanceof ArtifactError) || endsCheck.has(error.code)) throw error;
    const what = `whether rules of the bucket delete objects is not known: ${error.message}`;
    const means = 'see the rules of the bucket: none may delete or archive objects of the workspace';
    return [finding(null, { severity: 'info', code: 'lifecycle-rule', what, means })];
  }
}

function told({ url }: ObjectStore, { name, prefix, effect, when }: LifecycleRule): Finding {
  const rule = name === '' ? 'a rule of the bucket' : `the rule "${name}" of the bucket`;
  const objects = prefix === '' ? 'all objects' : `objects that begin with ${prefix}`;
  const what = `${rule} ${effect} ${objects} in ${url}${when === '' ? '' : `, ${when}`}`;
  const loss =
    effect === 'deletes' ? 'versions lose their bytes and their records' : 'versions cannot be read';
  const means = `${loss} then, whether they are in use or not: remove the rule, or give it a prefix outside the workspace`;
  return finding(null, { severity: 'warning', code: 'lifecycle-rule', what, means });
}
