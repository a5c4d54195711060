import { afterEach, describe, expect, test } from 'bun:test';
import type { Socket } from 'bun';
import { type Peer, unacknowledged } from '../../src/stream/socket-progress.ts';
import { type Blockable, StallWatch } from '../../src/stream/stall-watch.ts';
import { until } from '../support/until.ts';

const STALL_MS = 100;
/** Looks at the kernel's numbers that a client survives without a limit of its own having passed many times over. */
const MANY_LOOKS = 20;

/** Waits for its client for ever. */
class Waiting implements Blockable {
  dropped = false;
  readonly peer: Peer | undefined;

  constructor(watch: { delete(blocked: Blockable): void }, port?: number) {
    this.peer = port === undefined ? undefined : { address: '192.0.2.1', port, localPort: 80 };
    this.drop = () => {
      this.dropped = true;
      watch.delete(this);
    };
  }

  drop: () => void;
}

describe('the stall watch', () => {
  const open: { watch: StallWatch; waiting: Blockable }[] = [];
  afterEach(() => {
    for (const { watch, waiting } of open.splice(0)) watch.delete(waiting);
  });

  function wait(watch: StallWatch, port?: number): Waiting {
    const waiting = new Waiting(watch, port);
    open.push({ watch, waiting });
    watch.add(waiting);
    return waiting;
  }

  test('drops who takes nothing, and keeps who takes a byte now and then', async () => {
    let looks = 0;
    const watch = new StallWatch(STALL_MS, async (peers) => {
      looks += 1;
      return new Map(Array.from(peers, (peer) => [peer, peer.port === 1 ? 1_000_000 - looks : 500]));
    });
    const [slow, stalled, unknown] = [wait(watch, 1), wait(watch, 2), wait(watch)];
    await until('the stalled to be dropped', () => stalled.dropped && unknown.dropped);
    await until('many looks', () => looks > MANY_LOOKS);
    expect(slow.dropped).toBe(false);
  });

  test('does not ask the kernel while nobody waits', async () => {
    const asked: number[] = [];
    const watch = new StallWatch(STALL_MS, async (peers) => {
      asked.push(...Array.from(peers, ({ port }) => port));
      return new Map();
    });
    const drained = wait(watch, 1);
    watch.delete(drained);
    const stalled = wait(watch, 2);
    await until('the other to be dropped', () => stalled.dropped);
    expect(asked.length).toBeGreaterThan(0);
    expect(asked).not.toContain(1);
    expect(drained.dropped).toBe(false);
  });
});

describe.if(process.platform === 'linux')('what the kernel says of a socket', () => {
  test.each(['127.0.0.1', '::1', '0.0.0.0', '::'])(
    'falls when its client reads, on a server at %s',
    async (hostname) => {
      const accepted = Promise.withResolvers<Socket>();
      const server = Bun.listen({
        hostname,
        port: 0,
        socket: { open: (socket) => accepted.resolve(socket), data() {} },
      });
      const host = hostname === '0.0.0.0' || hostname === '::' ? '127.0.0.1' : hostname;
      let received = 0;
      const client = await Bun.connect({
        hostname: host,
        port: server.port,
        socket: {
          data(_, bytes) {
            received += bytes.length;
          },
        },
      });
      try {
        client.pause();
        const socket = await accepted.promise;
        const sent = socket.write(new Uint8Array(16 * 1024 * 1024));
        const peer = { address: socket.remoteAddress, port: socket.remotePort, localPort: server.port };
        const stranger = { ...peer, address: '192.0.2.7' };
        const held = async () => (await unacknowledged([stranger, peer])).get(peer) ?? -1;
        // What its own kernel takes for it is acknowledged at once; the rest waits.
        const before = await until('something to wait', async () => (await held()) > 0 && held());
        expect((await unacknowledged([stranger])).size).toBe(0);
        client.resume();
        await until('the client to have it', () => received === sent);
        expect(await held()).toBeLessThan(before);
      } finally {
        client.terminate();
        server.stop(true);
      }
    },
  );
});
