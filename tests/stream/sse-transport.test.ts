import { afterEach, describe, expect, test } from 'bun:test';
import { SseTransport } from '../../src/stream/sse-transport.ts';
import { StallWatch } from '../../src/stream/stall-watch.ts';
import { RawClient } from '../support/raw-client.ts';
import { until } from '../support/until.ts';

/** More than the kernel takes for a client that reads nothing. */
const BYTES = 8 * 1024 * 1024;
const PIECE_BYTES = 64 * 1024;
/** Blank lines here and there, as between frames. */
const FRAMES = new Uint8Array(BYTES).map((_, index) => (index % PIECE_BYTES < 2 ? 10 : 97));
const STALL_MS = 1000;
/** A slow client reads four times in that. */
const READ_EVERY_MS = STALL_MS / 4;
const LIMIT_MS = 30_000;
const END = new TextEncoder().encode('retry: 1\n\n');

describe('the transport of an event stream', () => {
  const stops: (() => void)[] = [];
  afterEach(() => {
    for (const stop of stops.splice(0)) stop();
  });

  /** A stream to a client that reads nothing until it is told to. */
  async function stream() {
    const stalls = new StallWatch(STALL_MS);
    const opened = Promise.withResolvers<{ transport: SseTransport }>();
    let isGone = false;
    const server = Bun.serve({
      port: 0,
      idleTimeout: 0,
      development: false,
      fetch(request, { port = 0 }) {
        const client = server.requestIP(request);
        const peer = client === null ? undefined : { address: client.address, port: client.port, localPort: port };
        const transport = new SseTransport(stalls, peer);
        const gone = () => {
          isGone = true;
        };
        return new Response(transport.body(() => opened.resolve({ transport }), gone));
      },
    });
    const client = await RawClient.open(`http://127.0.0.1:${server.port}/`, '');
    client.pause();
    stops.push(() => {
      client.close();
      server.stop(true);
    });
    return { ...(await opened.promise), client, isGone: () => isGone };
  }

  test(
    'gives a client that reads slowly everything that was written before the end, and then the end',
    async () => {
      const { transport, client } = await stream();
      let isFinished = false;
      transport.write([FRAMES]);
      expect(transport.writable).toBe(false);
      transport.end(END, () => {
        isFinished = true;
      });
      expect(isFinished).toBe(false);
      client.trickle(READ_EVERY_MS);
      await until('the end', () => client.finished || client.closed, LIMIT_MS);
      expect([client.finished, client.received]).toEqual([true, BYTES + END.length]);
      expect(isFinished).toBe(true);
    },
    LIMIT_MS,
  );

  test('is writable again when the client has taken it all, and not sooner', async () => {
    const { transport, client } = await stream();
    let drains = 0;
    transport.onDrain = () => {
      drains += 1;
    };
    transport.write([FRAMES, new Uint8Array(0), FRAMES]);
    client.resume();
    await until('the drain', () => drains === 1);
    expect(transport.writable).toBe(true);
    transport.write([END]);
    transport.end(END, () => {});
    await until('the end', () => client.finished);
    expect(client.received).toBe(2 * BYTES + 2 * END.length);
    expect(drains).toBe(1);
  });

  test('keeps what the client has not taken as it was given, without copying it', async () => {
    const { transport, client } = await stream();
    // Many clients and one frame: the memory of one frame and a piece for each.
    const others = await Promise.all(Array.from({ length: 20 }, () => stream()));
    Bun.gc(true);
    const before = process.memoryUsage.rss();
    for (const other of [{ transport }, ...others]) other.transport.write([FRAMES]);
    expect(transport.writable).toBe(false);
    Bun.gc(true);
    // With a copy of the rest for each it is some 90 MB; what the kernel has taken is not the process's.
    expect(process.memoryUsage.rss() - before).toBeLessThan(21 * PIECE_BYTES + 40 * 1024 * 1024);
    client.close();
  });

  test('drops a client that takes nothing, also after the end', async () => {
    const streams = [await stream(), await stream()];
    let isFinished = false;
    for (const { transport } of streams) transport.write([FRAMES]);
    streams[1]?.transport.end(END, () => {
      isFinished = true;
    });
    await until('both to be dropped', () => streams.every(({ isGone }) => isGone()));
    expect(isFinished).toBe(true);
    for (const { client } of streams) {
      client.resume();
      await until('the client to notice', () => client.closed);
      expect([client.finished, client.received < BYTES]).toEqual([false, true]);
    }
  });

  test('says that it has finished when the client goes before it has taken everything', async () => {
    const { transport, client } = await stream();
    let finishes = 0;
    transport.write([FRAMES]);
    transport.end(END, () => {
      finishes += 1;
    });
    client.close();
    await until('the end', () => finishes === 1);
    transport.abort();
    transport.write([END]);
    expect(finishes).toBe(1);
  });
});
