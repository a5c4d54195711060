import { connect, createServer, type Server, type Socket } from 'node:net';

export interface TcpProxy {
  readonly port: number;
  /** Breaks every connection and refuses new ones. */
  cut(): Promise<void>;
  /** Leaves every connection open and forwards nothing on it any more; new ones work. */
  freeze(): void;
  /** Closes the next connection once the server has answered so many bytes; 0: as soon as the client has said something. */
  cutNextAfter(bytes: number): void;
  /** From now on a new connection is accepted, hears nothing, and is closed so many milliseconds later; `undefined`: no more. */
  closeAfter(ms: number | undefined): void;
  /** Connections that it has accepted so far. */
  readonly accepted: number;
  /** Listens again, on the same port. */
  restore(): Promise<void>;
}

/** Stands in front of a server, to take it away from some of its clients and give it back. */
export async function startTcpProxy(target: { path: string } | { host: string; port: number }): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let [cutAfter, lifeMs, accepted]: [number | undefined, number | undefined, number] = [undefined, undefined, 0];
  const server = createServer((client) => {
    accepted += 1;
    if (lifeMs !== undefined) return void setTimeout(() => client.destroy(), lifeMs);
    const upstream = connect(target);
    if (cutAfter !== undefined) cutOff(client, upstream, cutAfter);
    cutAfter = undefined;
    for (const [socket, peer] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => peer.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        peer.destroy();
      });
    }
    client.pipe(upstream).pipe(client);
  });
  const port = await listen(server, 0);
  return {
    port,
    async cut() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
    freeze() {
      for (const socket of sockets) {
        socket.unpipe();
        socket.pause();
      }
    },
    cutNextAfter(bytes) {
      cutAfter = bytes;
    },
    closeAfter(ms) {
      lifeMs = ms;
    },
    get accepted() {
      return accepted;
    },
    async restore() {
      await listen(server, port);
    },
  };
}

function cutOff(client: Socket, upstream: Socket, bytes: number): void {
  let left = bytes;
  if (bytes === 0) client.once('data', () => client.destroy());
  upstream.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left <= 0) client.destroy();
  });
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      const address = server.address();
      if (typeof address === 'object' && address !== null) resolve(address.port);
      else reject(new Error('the proxy has no port'));
    });
  });
}
