import { describe, expect, test } from 'bun:test';
import { encodeEntries, isSent, liveFrame, withPrevious } from '../../src/stream/view.ts';
import { asSse, EPOCH, entry, idOf, parseStream, placeOf, view } from './support.ts';

describe('whether an event becomes a frame', () => {
  test.each([
    ['without database state, whatever the snapshot', 0, 9, true],
    ['newer than the snapshot', 10, 9, true],
    ['the newest of the snapshot', 9, 9, false],
    ['older than the snapshot', 1, 9, false],
    ['for a connection without a snapshot', 1, 0, true],
  ])('one %s', (_which, revision, snapshot, sent) => {
    expect(isSent(view(), entry(1, { revision }), snapshot)).toBe(sent);
  });

  test('not one that the view does not show', () => {
    const shown = view({ shows: (topic) => topic.startsWith('decky.') });
    expect(isSent(shown, entry(1, { topic: 'topology.t1.status' }), 0)).toBe(false);
    expect(isSent(shown, entry(1, { topic: 'decky.web.state' }), 0)).toBe(true);
  });
});

describe('a live frame', () => {
  const data = (text: string) => JSON.parse(parseStream(text).frames[0]?.data ?? '');

  test('carries its id, its name and what was published', () => {
    const text = liveFrame(
      asSse(view({ eventName: (topic) => topic.slice(12) })),
      EPOCH,
      entry(7),
      placeOf(7),
      placeOf(6),
    );
    expect(parseStream(text).frames).toEqual([{ id: idOf(7), event: 'status', data: entry(7).data }]);
  });

  test('has no name where the view gives none', () => {
    expect(
      parseStream(liveFrame(asSse(view({ eventName: () => undefined })), EPOCH, entry(7), placeOf(7), placeOf(6)))
        .frames[0]?.event,
    ).toBe(undefined);
  });

  test('says what came before when its id alone does not: after something that was not shown', () => {
    expect(data(liveFrame(asSse(view()), EPOCH, entry(7), placeOf(7), placeOf(6))).prev).toBeUndefined();
    expect(data(liveFrame(asSse(view()), EPOCH, entry(7), placeOf(7), placeOf(4))).prev).toBe(idOf(4));
  });

  test('says it always on a filtered stream', () => {
    expect(data(liveFrame(asSse(view({ filtered: true })), EPOCH, entry(7), placeOf(7), placeOf(6))).prev).toBe(
      idOf(6),
    );
  });
});

describe('prev', () => {
  test.each([
    ['{}', { prev: 'e.1' }],
    ['{"a":1}', { prev: 'e.1', a: 1 }],
    ['{"topic":"a","payload":{"prev":"x"}}', { prev: 'e.1', topic: 'a', payload: { prev: 'x' } }],
  ])('is added to %s', (data, expected) => {
    expect(JSON.parse(withPrevious(data, 'e.1'))).toEqual(expected);
  });

  test('cannot break out of its string', () => {
    expect(JSON.parse(withPrevious('{"a":1}', '","b":2,"c":"\n'))).toEqual({ prev: '","b":2,"c":"\n', a: 1 });
    expect(withPrevious('{"a":1}', '\n')).not.toContain('\n');
  });
});

describe('encoding for one connection', () => {
  const start = { at: placeOf(2, 5), sent: placeOf(2, 5) };

  test('nothing leaves it where it is', () => {
    expect(encodeEntries(asSse(view()), EPOCH, [], start)).toEqual({ text: '', state: start });
  });

  test('counts what is not shown and what the snapshot holds, and chains over both', () => {
    const entries = [
      entry(3, { revision: 5 }),
      entry(4, { topic: 'hidden' }),
      entry(5, { revision: 6 }),
      entry(6, { topic: 'hidden' }),
    ];
    const shown = view({ shows: (topic) => topic !== 'hidden' });
    const { text, state } = encodeEntries(asSse(shown), EPOCH, entries, start);
    const [frame, ...more] = parseStream(text).frames;
    expect(more).toEqual([]);
    expect(frame?.id).toBe(idOf(5));
    expect(JSON.parse(frame?.data ?? '').prev).toBe(idOf(2, EPOCH, 5));
    expect(state).toEqual({ at: placeOf(6), sent: placeOf(5) });
  });
});
