import { describe, expect, test } from 'bun:test';
import { jsonFraming } from '../../src/stream/json-framing.ts';
import { encodeHistory } from '../../src/stream/large-events.ts';
import { encodeEntries, type Look } from '../../src/stream/view.ts';
import { asSse, EPOCH, entry, placeOf, view } from './support.ts';

const from = (offset: number, revision = 0) => ({ at: placeOf(offset, revision), sent: placeOf(offset, revision) });
const large = (padding = 'é'.repeat(100_000)) => ({ data: JSON.stringify({ padding }) });
const textOf = (chunks: readonly Uint8Array[]) => Buffer.concat(chunks).toString();
/** The bytes of the event itself, between what is before and after. */
const bodyOf = (look: Look, event: ReturnType<typeof entry>) =>
  encodeHistory(look, EPOCH, [event], from(event.offset - 1)).chunks[1];

const LOOKS: readonly [string, Look][] = [
  ['an EventSource', asSse(view())],
  ['a socket', { view: view(), framing: jsonFraming }],
  ['a filtered stream', asSse(view({ filtered: true }))],
  ['a stream that shows nothing', asSse(view({ shows: () => false }))],
];

describe.each(LOOKS)('history for %s', (_who, look) => {
  test.each([
    ['nothing', [], from(0)],
    ['small events', [entry(1), entry(2)], from(0)],
    ['a large event', [entry(1, large())], from(0)],
    ['two large events', [entry(1, large()), entry(2, large())], from(0)],
    ['a large event after something that was not shown', [entry(7, large())], { at: placeOf(6), sent: placeOf(4) }],
    ['a large event that the snapshot contained', [entry(1, { ...large(), revision: 8 })], from(0, 9)],
    ['a large event after a snapshot that is older', [entry(1, { ...large(), revision: 8 })], from(0, 7)],
    ['a large event on several lines', [entry(1, { data: `{"a":\n"${'x'.repeat(100_000)}"}` })], from(0)],
  ])('is the same as what is encoded for one alone: %s', (_what, entries, state) => {
    const alone = encodeEntries(look, EPOCH, entries, state);
    const { chunks, state: after } = encodeHistory(look, EPOCH, entries, state);
    expect(textOf(chunks)).toBe(alone.text);
    expect(after).toEqual(alone.state);
  });
});

describe('a large event', () => {
  test('is in memory once, whoever takes it', () => {
    const event = entry(1, large());
    const bodies = LOOKS.slice(0, 2).flatMap(([, look]) => [bodyOf(look, event), bodyOf(look, { ...event })]);
    expect(bodies[0]?.length).toBeGreaterThan(200_000);
    expect(new Set(bodies).size).toBe(1);
  });

  test('is not taken for another one with the same id or the same place in another history', () => {
    const [, look] = LOOKS[0] ?? ['', asSse(view())];
    const event = entry(1, large());
    bodyOf(look, event);
    for (const change of [{ id: 'another' }, { proof: 'ffffffff' }]) {
      const other = { ...event, ...large('y'.repeat(100_000)), ...change };
      expect(textOf(encodeHistory(look, EPOCH, [other], from(0)).chunks)).toContain('yyy');
    }
  });
});
