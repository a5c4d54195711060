import { describe, expect, test } from 'bun:test';
import { jsonFraming } from '../../src/stream/json-framing.ts';
import { StallWatch } from '../../src/stream/stall-watch.ts';
import { type Socket, SocketWriter } from '../../src/ws/socket-writer.ts';
import { type Random, seeded } from '../support/random.ts';

const PIECE_BYTES = 64 * 1024;

/** A socket whose kernel takes as many bytes as it is given room for; Bun keeps the rest of a message. */
class PaperSocket implements Socket {
  readonly texts: string[] = [];
  room = Number.POSITIVE_INFINITY;
  terminated = false;

  sendText(text: string): number {
    this.texts.push(text);
    this.room -= Buffer.byteLength(text);
    return text.length;
  }

  cork<T>(send: () => T): T {
    return send();
  }

  getBufferedAmount(): number {
    return Math.max(0, -this.room);
  }

  ping = () => 1;
  close = () => {};

  terminate(): void {
    this.terminated = true;
  }
}

function writerOn(socket: Socket): SocketWriter {
  return new SocketWriter(socket, new StallWatch(60_000), undefined, () => {});
}

/** The frames that a client of these messages has, put together from their parts. */
function framesOf(texts: readonly string[], sid: string): unknown[] {
  const frames: unknown[] = [];
  let whole = '';
  for (const message of texts.map((text) => JSON.parse(text))) {
    if (message.sid !== sid) continue;
    if (message.part === undefined) {
      expect(whole).toBe(''); // Nothing of the same stream comes between two parts.
      const { sid: _, ...frame } = message;
      frames.push(frame);
      continue;
    }
    whole += message.part;
    if (message.more) continue;
    frames.push(JSON.parse(whole));
    whole = '';
  }
  return frames;
}

const bytes = (text: string) => new TextEncoder().encode(text);
const frame = (n: number, text: string) => jsonFraming.frame({ id: `e.${n}`, event: 'x' }, JSON.stringify({ n, text }));

/** Frames as connections write them: many in a chunk, or one in pieces. */
function portion(random: Random, first: number): { chunks: Uint8Array[]; frames: unknown[] } {
  const [chunks, frames]: [Uint8Array[], unknown[]] = [[], []];
  for (let n = first; n < first + random.between(1, 12); n += 1) {
    const text = random.pick(['', 'ä€😀"\\', 'y'.repeat(9000), '€'.repeat(30_000), '😀'.repeat(70_000)]);
    const data = { n, text };
    frames.push({ event: 'x', id: `e.${n}`, data });
    const json = JSON.stringify(data);
    if (random.chance(0.5)) chunks.push(...jsonFraming.around({ id: `e.${n}`, event: 'x' }, bytes(json)));
    else {
      const line = bytes(frame(n, text));
      const last = chunks.at(-1);
      if (last !== undefined && random.chance(0.6)) chunks[chunks.length - 1] = Buffer.concat([last, line]);
      else chunks.push(line);
    }
  }
  return { chunks, frames };
}

describe('the streams of a socket', () => {
  test('come out as the frames that were written, whatever their sizes and wherever the socket was full', () => {
    for (let seed = 1; seed <= 60; seed += 1) {
      const random = seeded(seed);
      const socket = new PaperSocket();
      const writer = writerOn(socket);
      const sids = ['a', '"b\\'];
      const streams = sids.map((sid) => ({ sid, transport: writer.open(sid, () => {}), frames: [] as unknown[] }));
      for (let round = 0; round < 8; round += 1) {
        socket.room = random.pick([0, 50_000, 400_000, Number.POSITIVE_INFINITY]);
        for (const { transport, frames } of streams) {
          if (!transport.writable) continue;
          const next = portion(random, frames.length);
          frames.push(...next.frames);
          transport.write(next.chunks);
        }
        for (let drains = 0; socket.getBufferedAmount() > 0 && drains < 1000; drains += 1) {
          socket.room = random.pick([1, 50_000, 400_000]);
          writer.drained();
        }
        expect({ seed, isWritable: streams.every(({ transport }) => transport.writable) }).toEqual({
          seed,
          isWritable: socket.getBufferedAmount() === 0,
        });
      }
      socket.room = Number.POSITIVE_INFINITY;
      writer.drained();
      for (const { sid, frames } of streams)
        expect({ seed, frames: framesOf(socket.texts, sid) }).toEqual({ seed, frames });
    }
  });

  test('cost what one piece costs while nothing is read, and no message is larger than twice that', () => {
    const socket = new PaperSocket();
    const writer = writerOn(socket);
    socket.room = 0;
    const [one, two] = [writer.open('a', () => {}), writer.open('b', () => {})];
    one.write([bytes(frame(1, '"'.repeat(1_000_000)))]);
    two.write([bytes(frame(1, 'x'))]);
    expect(socket.getBufferedAmount()).toBeLessThan(2 * PIECE_BYTES + 100);
    expect([one.writable, two.writable]).toEqual([false, false]);
    for (let drains = 0; one.hasMore; drains += 1) {
      socket.room = 0;
      writer.drained();
      expect(drains).toBeLessThan(100);
    }
    for (const text of socket.texts) expect(Buffer.byteLength(text)).toBeLessThan(2 * PIECE_BYTES + 100);
    expect(framesOf(socket.texts, 'a')).toHaveLength(1);
    expect(framesOf(socket.texts, 'b')).toHaveLength(1);
  });

  test('take turns: one that always has more does not keep the others from being served', () => {
    const socket = new PaperSocket();
    const writer = writerOn(socket);
    const served = ['greedy', 'b', 'c'].map((sid) => {
      const transport = writer.open(sid, () => {});
      const count = { sid, frames: 0 };
      // Each has as much as it may write, always.
      transport.onDrain = () => {
        while (transport.writable) {
          count.frames += 1;
          transport.write([bytes(frame(count.frames, 'x'.repeat(PIECE_BYTES / 2)))]);
        }
      };
      return { transport, count };
    });
    socket.room = 0;
    served[0]?.transport.write([bytes(frame(0, 'x'))]);
    for (let drains = 0; drains < 30; drains += 1) {
      socket.room = 2 * PIECE_BYTES;
      writer.drained();
    }
    const counts = served.map(({ count }) => count.frames);
    expect(Math.min(...counts) * 2).toBeGreaterThan(Math.max(...counts));
  });

  test('that is dropped in the middle of a frame says so, and another may take its name', () => {
    const socket = new PaperSocket();
    const writer = writerOn(socket);
    socket.room = 0;
    let [ends, finishes] = [0, 0];
    const transport = writer.open('a', () => {
      ends += 1;
    });
    transport.write([bytes(frame(1, 'x'.repeat(1_000_000)))]);
    transport.end(jsonFraming.farewell(1), () => {
      finishes += 1;
    });
    expect([ends, finishes]).toEqual([0, 0]);
    transport.abort();
    transport.abort();
    transport.write([bytes(frame(2, 'x'))]);
    expect([ends, finishes]).toEqual([1, 1]);
    expect(JSON.parse(socket.texts.at(-1) ?? '')).toEqual({ sid: 'a', event: 'end', data: { dropped: true } });
    const next = writer.open('a', () => {});
    socket.room = Number.POSITIVE_INFINITY;
    writer.drained();
    next.write([bytes(frame(3, 'x'))]);
    expect(JSON.parse(socket.texts.at(-1) ?? '')).toMatchObject({ id: 'e.3' });
  });
});
