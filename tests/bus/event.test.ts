import { describe, expect, test } from 'bun:test';
import { createEvent, isJsonObject, newEventId, wireData } from '../../src/bus/event.ts';
import { TopicError } from '../../src/bus/topic.ts';

describe('an event', () => {
  test('has the envelope of contract §2.1, its time in seconds', () => {
    expect(createEvent('identity.formed', 'formed', { n: 1 }, 'my-id', 1_795_231_317_125)).toEqual({
      v: 1,
      id: 'my-id',
      topic: 'identity.formed',
      type: 'formed',
      ts: 1_795_231_317.125,
      payload: { n: 1 },
    });
  });

  test('gets an id of 32 hex characters of its own, and the present as its time', () => {
    const before = Date.now() / 1000;
    const [first, second] = [createEvent('identity.formed', '', {}), createEvent('identity.formed', '', {})];
    expect(first.id).toMatch(/^[0-9a-f]{32}$/);
    expect(first.id).not.toBe(second.id);
    expect(newEventId()).toMatch(/^[0-9a-f]{32}$/);
    expect(first.ts).toBeGreaterThanOrEqual(before);
    expect(first.ts).toBeLessThanOrEqual(Date.now() / 1000);
  });

  test.each(['', 'identity.', 'a..b', 'identity.*', 'identity.>', 'a b', 'a\nb'])(
    'with the topic %j is refused',
    (topic) => {
      expect(() => createEvent(topic, '', {})).toThrow(TopicError);
    },
  );
});

describe('its data on the wire', () => {
  test('is one line of JSON: the envelope without v and id', () => {
    const event = createEvent(
      'identity.formed',
      'formed',
      { text: 'a\nb\r\u2028ä"\\', left_out: undefined },
      'my-id',
      1500,
    );
    const data = wireData(event);
    expect(data).not.toMatch(/[\r\n]/);
    expect(JSON.parse(data)).toEqual({
      topic: 'identity.formed',
      type: 'formed',
      ts: 1.5,
      payload: { text: 'a\nb\r\u2028ä"\\' },
    });
    expect(data).not.toContain('my-id');
  });
});

test.each([
  [{}, true],
  [{ a: 1 }, true],
  [[], false],
  [null, false],
  ['{}', false],
  [1, false],
  [undefined, false],
])('%j is a JSON object: %p', (value, expected) => {
  expect(isJsonObject(value)).toBe(expected);
});
