import { describe, expect, test } from 'bun:test';
import {
  assertPublishable,
  assertReportable,
  createEvent,
  type Event,
  EventError,
  type Json,
  type JsonObject,
  MAX_EVENT_BYTES,
  MAX_PAYLOAD_DEPTH,
  MAX_TYPE_LENGTH,
  wireData,
} from '../../src/bus/event.ts';
import { boundsOf } from '../../src/bus/json-bounds.ts';
import { seeded } from '../support/random.ts';

/** An object that nests so many levels, itself counted; lists and objects in turn. */
function nested(levels: number): JsonObject {
  let value: Json = 'the bottom';
  for (let level = 1; level < levels; level += 1) value = level % 2 === 0 ? { value } : [value];
  return { value };
}

const codeOf = (act: () => unknown): string | undefined => {
  try {
    act();
  } catch (error) {
    return error instanceof EventError ? error.code : String(error);
  }
  return undefined;
};
const publish = (payload: JsonObject, type = '', id?: string) =>
  codeOf(() => createEvent('identity.formed', type, payload, id));

describe('what is accepted can be published', () => {
  test.each([1, 2, MAX_PAYLOAD_DEPTH])('a payload of %p levels', (levels) => {
    expect(publish(nested(levels))).toBeUndefined();
  });

  test.each([MAX_PAYLOAD_DEPTH + 1, 39_998, 500_000])('one of %p levels is refused without a deep stack', (levels) => {
    expect(publish(nested(levels))).toBe('too_deep');
    expect(codeOf(() => assertReportable(nested(levels)))).toBe('too_deep');
  });

  test('a payload that refers to itself is refused, too', () => {
    const list: Json[] = [];
    list.push(list);
    expect(publish({ list })).toBe('too_deep');
  });

  test.each([
    ['ASCII', 'a', 1],
    ['three bytes for one unit', '\u20ac', 3],
    ['four bytes for two units', '\u{1f41d}', 4],
    ['an escape of two', '"', 2],
    ['an escape of six', '\u0001', 6],
    ['half a character, which is escaped', '\ud800', 6],
  ])('counts bytes as they go over the wire: %s', (_, unit, bytes) => {
    const frame = wireData(createEvent('identity.formed', '', { text: '' }, 'id', 0)).length;
    const room = MAX_EVENT_BYTES - frame;
    const text = unit.repeat(Math.floor(room / bytes)) + 'a'.repeat(room % bytes);
    expect(publish({ text })).toBeUndefined();
    expect(publish({ text: `${text}a` })).toBe('too_large');
    expect(codeOf(() => assertReportable({ text: `${text}${'a'.repeat(frame)}` }))).toBe('too_large');
  });

  test('a number of four characters in the request may have twenty-one on the wire', () => {
    const list = Array.from({ length: 120_000 }, () => 1e20);
    expect(publish({ list })).toBe('too_large');
  });

  test('the time has no part in it: what could be told once can be told again', () => {
    const text = 'a'.repeat(
      MAX_EVENT_BYTES - wireData(createEvent('identity.formed', '', { text: '' }, 'id', 0)).length,
    );
    expect(codeOf(() => createEvent('identity.formed', '', { text }, 'id', 0))).toBeUndefined();
    expect(codeOf(() => createEvent('identity.formed', '', { text }, 'id', 1_795_231_317_125))).toBeUndefined();
  });

  test.each([['x'], ['x'.repeat(200)], ['a:b/c{d}'], ['\u{1f41d}']])('the id %j', (id) => {
    expect(publish({}, '', id)).toBeUndefined();
  });

  test.each([[''], ['x'.repeat(201)], ['a b'], ['a\n'], ['a\u0000'], ['a\u007f'], ['a\u00a0'], ['\ud800']])(
    'but not the id %j',
    (id) => {
      expect(publish({}, '', id)).toBe('id');
    },
  );

  test('a type of any text that can be stored, up to its length', () => {
    expect(publish({}, 'ä \n'.repeat(MAX_TYPE_LENGTH / 4))).toBeUndefined();
    expect(publish({}, 'x'.repeat(MAX_TYPE_LENGTH + 1))).toBe('type');
    expect(publish({}, 'a\0')).toBe('type');
    expect(publish({}, '\udc00')).toBe('type');
  });

  test('a topic without NUL and half characters: they would not come out of Redis as they went in', () => {
    expect(codeOf(() => createEvent('identity.a\0', '', {}))).toBe('topic');
    expect(codeOf(() => createEvent('identity.\ud83d', '', {}))).toBe('topic');
  });

  test('an event that was made by hand is checked like any other', () => {
    const event: Event = { v: 1, id: 'id', topic: 'identity.formed', type: '', ts: 1, payload: nested(100) };
    expect(codeOf(() => assertPublishable(event))).toBe('too_deep');
  });
});

test('the bound of a size is never below the size (500 random values)', () => {
  const random = seeded(7).next;
  const value = (depth: number): Json => {
    const kind = Math.floor(random() * (depth > 0 ? 7 : 5));
    if (kind === 0) return null;
    if (kind === 1) return random() < 0.5;
    if (kind === 2) return (random() - 0.5) * 10 ** Math.floor(random() * 40 - 20);
    if (kind === 3) return -Number.MIN_VALUE * Math.floor(random() * 100);
    if (kind === 4) {
      const codes = Array.from({ length: Math.floor(random() * 20) }, () => Math.floor(random() * 65_536));
      return String.fromCharCode(...codes);
    }
    const items = Array.from({ length: Math.floor(random() * 6) }, () => value(depth - 1));
    if (kind === 5) return items;
    return Object.fromEntries(items.map((item, index) => [`"${index}\u0002ä`, item]));
  };
  for (let round = 0; round < 500; round += 1) {
    const one = value(5);
    const { atMostBytes, isTooDeep } = boundsOf(one, 10);
    expect(isTooDeep).toBe(false);
    expect(atMostBytes).toBeGreaterThanOrEqual(Buffer.byteLength(JSON.stringify(one)));
  }
});
