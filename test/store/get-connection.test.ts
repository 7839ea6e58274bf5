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
