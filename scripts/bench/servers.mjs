// The S3 servers on which everything is measured.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { root, run } from './tools.mjs';

/**
 * @typedef {object} Server
 * @property {string} name
 * @property {string} about
 * @property {boolean} realistic  has the latency and the bandwidth of a network
 * @property {string} endpoint
 * @property {string} accessKey
 * @property {string} secretKey
 * @property {string} bucket
 * @property {(() => Promise<Counters>) | undefined} counters  what it was asked since the last time, if it can say
 * @property {() => Promise<void>} stop
 *
 * @typedef {{requests: number, gets: number, bytesIn: number, bytesOut: number, inFlightMax: number}} Counters
 */

const keys = { accessKey: 'testkey', secretKey: 'testsecret' };
const network = { latencyMs: 20, bytesPerSecond: 90e6, errorRate: 0.001 };

/** @type {Record<string, (work: string) => Promise<Server>>} */
export const servers = { ceph: startCeph, network: startNetwork };

async function startCeph(work) {
  const directory = `${work}/ceph`;
  const [port, monitorPort] = [await freePort(1), await freePort(2)];
  const env = { PORT: String(port), MON_PORT: String(monitorPort), OSD_BYTES: String(40 * 2 ** 30) };
  await run(`${root}scripts/ceph-rgw`, ['start', directory], { env });
  return {
    ...keys,
    name: 'ceph',
    about: 'Ceph RGW on this machine',
    realistic: false,
    endpoint: `http://127.0.0.1:${port}`,
    bucket: 'artifactfs-test',
    counters: undefined,
    stop: async () => void (await run(`${root}scripts/ceph-rgw`, ['stop', directory])),
  };
}

/** The test server in a process of its own, with everything in memory. */
async function startNetwork() {
  await run(`${root}scripts/s3-server`, ['--build-only']);
  const words = [`${root}build/s3-server/main.js`, '--until-stdin-ends', '--memory-mib', '12288'];
  const child = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const { endpoint, bucket } = JSON.parse(line);
  const tell = async (message) => {
    const answer = await fetch(`${endpoint}/__control`, { method: 'POST', body: JSON.stringify(message) });
    if (!answer.ok) throw new Error(`the S3 server answered ${answer.status}`);
    return answer.json();
  };
  await tell({ do: 'set', settings: network });
  return {
    ...keys,
    name: 'network',
    about: '20 ms to the first byte, 90 MB/s for each connection, 0.1 % of requests answered 503',
    realistic: true,
    endpoint,
    bucket,
    async counters() {
      const { operations, inFlightMax } = await tell({ do: 'counters' });
      await tell({ do: 'resetCounters' });
      const sum = (field) => Object.values(operations).reduce((total, counts) => total + counts[field], 0);
      return {
        requests: sum('requests'),
        gets: operations.GetObject?.requests ?? 0,
        bytesIn: sum('bytesIn'),
        bytesOut: sum('bytesOut'),
        inFlightMax,
      };
    },
    async stop() {
      child.stdin.end();
      await once(child, 'exit');
    },
  };
}

/** The first of `count` neighbouring ports that are free now. */
async function freePort(count) {
  for (;;) {
    const first = await open(0);
    const { port } = first.address();
    const others = await Promise.all(
      Array.from({ length: count - 1 }, (_, i) => open(port + 1 + i).catch(() => null)),
    );
    await Promise.all(
      [first, ...others].map((server) => server && new Promise((done) => server.close(done))),
    );
    if (!others.includes(null)) return port;
  }
}

function open(port) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}
