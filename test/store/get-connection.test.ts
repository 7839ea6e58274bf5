import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { expect, test } from 'vitest';
import { GetConnection } from '../../src/store/s3/get-connection.js';

const connectionLimits = { connectMsMax: 5000, idleMsMax: 5000, socketsMax: 8 };
const request = {
  text: 'GET / HTTP/1.1\r\n\r\n',
  accept: () => null,
  received: () => {},
  signal: undefined,
};

test('a connection that the service resets, or refuses, says once that it is closed', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', () => socket.resetAndDestroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const closed: string[] = [];
  const connect = (name: string) => {
    const connection = new GetConnection({ secure: false, host: '127.0.0.1', port }, connectionLimits, {
      value: undefined,
    });
    connection.onClosed = () => void closed.push(name);
    return connection;
  };

  const reset = connect('reset');
  await expect(reset.get(request)).rejects.toThrow();
  expect(closed).toEqual(['reset']);
  reset.destroy();
  expect(closed).toEqual(['reset']);

  server.close();
  await once(server, 'close');
  await expect(connect('refused').get(request)).rejects.toThrow();
  expect(closed).toEqual(['reset', 'refused']);
});

test('regression: a connection that was made while the process was busy is not late', async () => {
  const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
  const server = createServer((socket) => void socket.once('data', () => socket.end(answer)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const origin = { secure: false, host: '127.0.0.1', port };
  const connection = new GetConnection(
    origin,
    { ...connectionLimits, connectMsMax: 20 },
    { value: undefined },
  );
  const got = connection.get(request);
  // The kernel connects meanwhile.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  await expect(got).resolves.toMatchObject({ head: { status: 200 } });
  connection.destroy();
  server.close();
});
