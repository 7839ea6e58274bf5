/**
 * What services that speak S3 are known to do otherwise. Only for people: what a store can do is proved at every mount
 * (`ObjectStore.probe`), and no service is believed or refused for its name.
 */
export interface StoreService {
  readonly name: string;
  /** Of its endpoints, where it has its own. */
  readonly host?: RegExp;
  /** Whether PUT with `If-None-Match: *` refuses what exists, which commits need. */
  readonly createIfAbsent: 'yes' | 'newer versions' | 'no';
  /** What it lacks or does otherwise. */
  readonly lacks: string;
  /** What is done instead, or what does not work. */
  readonly instead: string;
}

const readOnly = 'mounts read-only, or with --single-writer';

export const storeServices: readonly StoreService[] = [
  {
    name: 'AWS S3',
    host: /(^|\.)amazonaws\.com(\.cn)?$/,
    createIfAbsent: 'yes',
    lacks: 'nothing that is needed',
    instead: '',
  },
  {
    name: 'MinIO',
    createIfAbsent: 'yes',
    lacks:
      'lists unfinished uploads by whole keys only; before September 2025 it ignores If-Match for keys that are not there',
    instead: 'unfinished uploads of a killed daemon are not found; the server drops them',
  },
  {
    name: 'Ceph RGW',
    createIfAbsent: 'yes',
    lacks: 'version 16 refuses checksums in trailers, and quoted ETags in If-Match',
    instead: 'bodies have their length and checksum in headers; If-Match is never sent',
  },
  {
    name: 'Google Cloud Storage',
    host: /(^|\.)storage\.googleapis\.com$/,
    createIfAbsent: 'no',
    lacks: 'has x-goog-if-generation-match instead of If-None-Match',
    instead: readOnly,
  },
  {
    name: 'Cloudflare R2',
    host: /(^|\.)r2\.cloudflarestorage\.com$/,
    createIfAbsent: 'yes',
    lacks: 'may throttle with 403',
    instead: 'an answer that names throttling is asked again, whatever its status',
  },
  {
    name: 'SeaweedFS',
    createIfAbsent: 'newer versions',
    lacks: 'up to 3.96 it ignores If-None-Match, later ones (4.16) let several creates at once win',
    instead: 'these mount read-only, or with --single-writer',
  },
  {
    name: 'Garage',
    createIfAbsent: 'no',
    lacks: 'ignores If-None-Match',
    instead: readOnly,
  },
  {
    name: 'Alibaba Cloud OSS',
    host: /(^|\.)aliyuncs\.com$/,
    createIfAbsent: 'no',
    lacks: 'has x-oss-forbid-overwrite instead of If-None-Match',
    instead: readOnly,
  },
];

/** The service whose endpoint it is; undefined for one that anybody may run anywhere. Without an endpoint it is AWS. */
export function serviceAt(endpoint: string | undefined): StoreService | undefined {
  if (endpoint === undefined) return storeServices.find(({ name }) => name === 'AWS S3');
  if (!URL.canParse(endpoint)) return undefined;
  const { hostname } = new URL(endpoint);
  return storeServices.find(({ host }) => host?.test(hostname));
}
