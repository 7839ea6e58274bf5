/** The server as a process: see server.ts. Prints one JSON line when it is ready; ends with SIGTERM or its input. */
import { parseArgs } from 'node:util';
import type { Features } from './context.js';
import { startS3Server } from './server.js';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    host: { type: 'string', default: '127.0.0.1' },
    bucket: { type: 'string', default: 'test' },
    'access-key': { type: 'string', default: 'testkey' },
    'secret-key': { type: 'string', default: 'testsecret' },
    'memory-mib': { type: 'string', default: '512' },
    'latency-ms': { type: 'string', default: '0' },
    'mib-per-second': { type: 'string', default: '0' },
    'error-rate': { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' },
    /** https; clients need NODE_TLS_REJECT_UNAUTHORIZED=0 */
    tls: { type: 'boolean', default: false },
    /** Switched off, by name: --without trailers --without conditionalWrites */
    without: { type: 'string', multiple: true, default: [] },
    /** Ends the server with the process that started it. */
    'until-stdin-ends': { type: 'boolean', default: false },
  },
});

const server = await startS3Server({
  port: Number(values.port),
  host: values.host,
  bucket: values.bucket,
  accessKeyId: values['access-key'],
  secretAccessKey: values['secret-key'],
  memoryBytesMax: Number(values['memory-mib']) * 2 ** 20,
  features: Object.fromEntries(values.without.map((name) => [name, false])) as Partial<Features>,
  tls: values.tls,
  settings: {
    latencyMs: Number(values['latency-ms']),
    bytesPerSecond: Number(values['mib-per-second']) * 2 ** 20,
    errorRate: Number(values['error-rate']),
    seed: Number(values.seed),
  },
});
const { endpoint, accessKeyId, secretAccessKey, bucket } = server;
console.log(JSON.stringify({ endpoint, accessKeyId, secretAccessKey, bucket, pid: process.pid }));

const stop = () => void server.close().then(() => process.exit(0));
process.once('SIGTERM', stop);
process.once('SIGINT', stop);
if (values['until-stdin-ends']) process.stdin.once('end', stop).resume();
