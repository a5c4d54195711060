import { describe, expect, test } from 'bun:test';
import { Outbound } from '../../src/bus-socket/outbound.ts';
import { newStats } from '../../src/bus-socket/stats.ts';

describe('what is on its way to a connection', () => {
  /** Takes so many bytes, until it is given more room. */
  class Sink {
    taken = '';
    room = 0;
    write(bytes: Uint8Array): number {
      const part = bytes.subarray(0, this.room);
      this.room -= part.length;
      this.taken += Buffer.from(part).toString('latin1');
      return part.length;
    }
  }

  test('is never cut in the middle of a frame, whatever is dropped', () => {
    const [sink, stats] = [new Sink(), newStats()];
    const told: string[] = [];
    const outbound = new Outbound(sink, stats, (level) => told.push(level), { items: 3, bytes: 1000 });
    const push = (text: string) => outbound.push(Buffer.from(text));
    for (const text of ['one.', 'two.']) push(text);
    sink.room = 2;
    outbound.flush();
    for (const text of ['three.', 'four.', 'five.', 'six.', 'seven.']) push(text);
    expect(told).toEqual(['warn']);
    sink.room = 1;
    outbound.flush();
    push('eight.');
    sink.room = 1000;
    outbound.flush();
    expect(sink.taken).toBe('one.two.six.seven.eight.');
    expect(stats.dropped).toBe(3);
    expect(told).toEqual(['warn', 'info']);
    expect(outbound.isEmpty).toBe(true);
  });

  test('counts bytes, and keeps the newest however large', () => {
    const [sink, stats] = [new Sink(), newStats()];
    const outbound = new Outbound(sink, stats, () => {}, { items: 100, bytes: 10 });
    for (const text of ['aaaa', 'bbbb', 'cccc', 'd'.repeat(50)]) outbound.push(Buffer.from(text));
    sink.room = 1000;
    outbound.flush();
    expect(sink.taken).toBe('d'.repeat(50));
    expect(stats).toMatchObject({ dropped: 3, delivered: 1 });
  });
});
