import {
  createBucket,
  deleteBucket,
  deleteObjects,
  getBucketLifecycle,
  getBucketLocation,
  headBucket,
  listBuckets,
  listObjects,
  putBucketLifecycle,
} from './bucket-handlers.js';
import type { Handler, Operation } from './context.js';
import {
  abortMultipartUpload,
  completeMultipartUpload,
  createMultipartUpload,
  listMultipartUploads,
  listParts,
  uploadPart,
  uploadPartCopy,
} from './multipart-handlers.js';
import { copyObject, deleteObject, getObject, headObject, putObject } from './object-handlers.js';
import { S3Error } from './s3-error.js';

export const handlers: Readonly<Record<Operation, Handler>> = {
  ListBuckets: listBuckets,
  CreateBucket: createBucket,
  HeadBucket: headBucket,
  DeleteBucket: deleteBucket,
  GetBucketLocation: getBucketLocation,
  GetBucketLifecycleConfiguration: getBucketLifecycle,
  PutBucketLifecycleConfiguration: putBucketLifecycle,
  ListObjects: listObjects,
  ListObjectsV2: listObjects,
  ListMultipartUploads: listMultipartUploads,
  DeleteObjects: deleteObjects,
  PutObject: putObject,
  CopyObject: copyObject,
  GetObject: getObject,
  HeadObject: headObject,
  DeleteObject: deleteObject,
  CreateMultipartUpload: createMultipartUpload,
  UploadPart: uploadPart,
  UploadPartCopy: uploadPartCopy,
  ListParts: listParts,
  CompleteMultipartUpload: completeMultipartUpload,
  AbortMultipartUpload: abortMultipartUpload,
};

/** Operations whose body becomes content; the body of others is a document or nothing. */
export const keepsPayload: ReadonlySet<Operation> = new Set(['PutObject', 'UploadPart']);

/** What the older ListObjects, which has no name of its own in the query, can be asked. */
const olderListing = new Set(['prefix', 'delimiter', 'marker', 'max-keys', 'encoding-type', 'x-id']);

export interface Target {
  readonly method: string;
  readonly bucketName: string;
  readonly key: string;
  readonly query: ReadonlyMap<string, string>;
  readonly copies: boolean;
}

export function operationOf(target: Target): Operation {
  const operation =
    target.bucketName === '' ? ofService(target) : target.key === '' ? ofBucket(target) : ofObject(target);
  if (operation === null)
    throw new S3Error(501, 'NotImplemented', `${target.method} with these parameters is not implemented`);
  return operation;
}

const ofService = ({ method }: Target): Operation | null => (method === 'GET' ? 'ListBuckets' : null);

function ofBucket({ method, query }: Target): Operation | null {
  switch (method) {
    case 'GET':
      if (query.has('location')) return 'GetBucketLocation';
      if (query.has('lifecycle')) return 'GetBucketLifecycleConfiguration';
      if (query.has('uploads')) return 'ListMultipartUploads';
      if (query.get('list-type') === '2') return 'ListObjectsV2';
      return [...query.keys()].every((name) => olderListing.has(name)) ? 'ListObjects' : null;
    case 'HEAD':
      return 'HeadBucket';
    case 'PUT':
      if (query.has('lifecycle')) return 'PutBucketLifecycleConfiguration';
      return query.size === 0 || query.has('x-id') ? 'CreateBucket' : null;
    case 'POST':
      return query.has('delete') ? 'DeleteObjects' : null;
    case 'DELETE':
      return 'DeleteBucket';
    default:
      return null;
  }
}

function ofObject({ method, query, copies }: Target): Operation | null {
  const upload = query.has('uploadId');
  switch (method) {
    case 'GET':
      return upload ? 'ListParts' : 'GetObject';
    case 'HEAD':
      return 'HeadObject';
    case 'PUT':
      if (upload) return copies ? 'UploadPartCopy' : 'UploadPart';
      return copies ? 'CopyObject' : 'PutObject';
    case 'POST':
      if (query.has('uploads')) return 'CreateMultipartUpload';
      return upload ? 'CompleteMultipartUpload' : null;
    case 'DELETE':
      return upload ? 'AbortMultipartUpload' : 'DeleteObject';
    default:
      return null;
  }
}
