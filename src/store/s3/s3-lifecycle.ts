import {
  GetBucketLifecycleConfigurationCommand,
  type S3Client,
  type LifecycleRule as S3Rule,
} from '@aws-sdk/client-s3';
import { ArtifactError } from '../../model/errors.js';
import type { CallOptions, LifecycleRule } from '../object-store.js';
import { describeFailure } from './s3-errors.js';
import { abortOf } from './s3-replies.js';

/** Rules of the bucket that take current objects from under a prefix. */
export async function lifecycleRules(
  client: S3Client,
  where: { readonly Bucket: string; readonly Prefix: string },
  options: CallOptions | undefined,
): Promise<LifecycleRule[]> {
  const rules = await rulesOf(client, where.Bucket, options);
  return rules.flatMap((rule) => effectsOf(rule, where.Prefix));
}

async function rulesOf(
  client: S3Client,
  Bucket: string,
  options: CallOptions | undefined,
): Promise<readonly S3Rule[]> {
  try {
    const command = new GetBucketLifecycleConfigurationCommand({ Bucket });
    return (await client.send(command, abortOf(options))).Rules ?? [];
  } catch (error) {
    const { name, status } = describeFailure(error);
    if (name === 'NoSuchLifecycleConfiguration') return [];
    // Services that do not know the question have several words for it.
    if (status === 400 || (status === 404 && name !== 'NoSuchBucket'))
      throw new ArtifactError(
        'Unsupported',
        `the service does not tell its rules: ${status} ${name}`,
        {},
        error,
      );
    throw error;
  }
}

/** None of a rule that is off, is not for objects like ours, or only cleans up: old uploads, and what is not current any more. */
function effectsOf(rule: S3Rule, ours: string): LifecycleRule[] {
  const { ID, Status, Filter, Expiration, Transitions = [] } = rule;
  if (Status === undefined)
    throw new ArtifactError('Unsupported', 'the bucket has rules in a form that is not known');
  const tags = [Filter?.Tag, ...(Filter?.And?.Tags ?? [])].filter((tag) => tag !== undefined);
  const prefix = prefixWithin(Filter?.And?.Prefix ?? Filter?.Prefix ?? rule.Prefix ?? '', ours);
  // Objects of a workspace have no tags.
  if (Status !== 'Enabled' || tags.length > 0 || prefix === null) return [];
  const found: LifecycleRule[] = [];
  const add = (effect: LifecycleRule['effect'], when: string) =>
    found.push({ name: ID ?? '', prefix, effect, when });
  // Without a time it is about markers of what was deleted before.
  if (Expiration?.Days !== undefined || Expiration?.Date !== undefined) add('deletes', whenOf(Expiration));
  for (const transition of Transitions)
    if (isArchive(transition.StorageClass ?? '')) add('archives', whenOf(transition));
  return found;
}

/** null: the rule is for other keys. */
function prefixWithin(prefix: string, ours: string): string | null {
  if (ours.startsWith(prefix)) return '';
  return prefix.startsWith(ours) ? prefix.slice(ours.length) : null;
}

/** GLACIER, DEEP_ARCHIVE, and the like of other services; not GLACIER_IR, which is read at once. */
const isArchive = (storageClass: string): boolean => /^glacier$|archive/i.test(storageClass);

function whenOf({ Days, Date: date }: { Days?: number | undefined; Date?: Date | undefined }): string {
  if (Days !== undefined) return `${Days} days after they were written`;
  return date === undefined ? '' : `from ${date.toISOString().slice(0, 10)} on`;
}
