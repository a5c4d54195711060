import { describe, expect, test } from 'bun:test';
import { FrameReader, KnownChunks } from '../../../scripts/load/frame-reader.ts';
import { sseFraming } from '../../../src/stream/sse-framing.ts';

const HEAD = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';

function frame(offset: number, epoch = 'e1'): string {
  const data = { topic: 't', type: 'x', ts: 1000 + offset / 1000, payload: { note: 'ü' } };
  return sseFraming.frame({ id: `${epoch}.${offset}.0a1b2c3d`, event: 'mutation.applied' }, JSON.stringify(data));
}

function chunk(text: string): string {
  return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
}

/** Feeds the bytes in pieces of this size and tells what the reader found. */
function read(text: string, pieceBytes: number, known = new KnownChunks()) {
  const found = {
    offsets: [] as number[],
    madeAt: [] as number[],
    epochs: new Set<string>(),
    positions: [] as string[],
  };
  const reader = new FrameReader(known, {
    onRun({ epoch, first, last, madeAt }) {
      found.epochs.add(epoch);
      found.madeAt.push(...madeAt);
      for (let offset = first; offset <= last; offset += 1) found.offsets.push(offset);
    },
    onPosition: (epoch, offset, event) => found.positions.push(`${event} ${epoch}.${offset}`),
  });
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += pieceBytes) reader.feed(bytes.subarray(at, at + pieceBytes));
  return found;
}

const snapshot = sseFraming.frame({ id: 'e1.4.0a1b2c3d', event: 'snapshot' }, '{"topology_id":"t"}');

describe('the reader of the load clients', () => {
  const stream =
    HEAD +
    chunk(`retry: 1\n\n: keepalive\n\n${snapshot}`) +
    chunk(frame(5)) +
    chunk(frame(6) + frame(7) + frame(8)) +
    chunk(': keepalive\n\n') +
    chunk(frame(9).slice(0, 20)) +
    chunk(frame(9).slice(20) + frame(10));

  test.each([1, 2, 7, 64, 100_000])('finds every frame in pieces of %d bytes', (pieceBytes) => {
    const found = read(stream, pieceBytes);
    expect(found.positions).toEqual(['snapshot e1.4']);
    expect(found.offsets).toEqual([5, 6, 7, 8, 9, 10]);
    expect(found.madeAt[0]).toBeCloseTo(1_000_005, 3);
    expect(found.madeAt).toHaveLength(6);
  });

  test('finds the same for a second client whose chunks are known', () => {
    const known = new KnownChunks();
    read(stream, 100_000, known);
    expect(read(stream, 100_000, known)).toEqual(read(stream, 100_000));
  });

  test('does not take a chunk of the same length for a known one', () => {
    const known = new KnownChunks();
    read(HEAD + chunk(frame(5)), 100_000, known);
    expect(read(HEAD + chunk(frame(6)), 100_000, known).offsets).toEqual([6]);
  });

  test('shows what is missing and what came twice', () => {
    expect(read(HEAD + chunk(frame(5) + frame(8) + frame(8) + frame(7)), 100_000).offsets).toEqual([5, 8, 8, 7]);
  });

  test('shows another epoch', () => {
    expect([...read(HEAD + chunk(frame(5) + frame(6, 'e2')), 100_000).epochs]).toEqual(['e1', 'e2']);
  });

  test('refuses an answer that is no stream', () => {
    expect(() => read('HTTP/1.1 429 Too Many Requests\r\n\r\n', 100_000)).toThrow('429');
  });
});
