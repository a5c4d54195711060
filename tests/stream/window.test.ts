import { describe, expect, test } from 'bun:test';
import type { Batch, Entry } from '../../src/bus/entry.ts';
import { type ChainState, liveFrame, type View } from '../../src/stream/view.ts';
import { type Due, Window } from '../../src/stream/window.ts';
import { type Random, seeded } from '../support/random.ts';
import { batch, batchOf, EPOCH, entry, idOf, parseStream, placeOf, textOf, view } from './support.ts';

const PLENTY = 1_000_000;

const at = (offset: number, sent = offset, revision = 0): ChainState => ({
  at: placeOf(offset, revision),
  sent: placeOf(sent),
});

/** A window with these batches in it. */
function windowWith(shown: View, maxBytes: number, ...batches: readonly Batch[]): Window {
  const window = new Window(shown, maxBytes);
  for (const each of batches) window.append(each);
  return window;
}

/** Asks again and again, as a connection does, until nothing is due any more. */
function drain(window: Window, from: ChainState, maxBytes: () => number) {
  const rounds: Due[] = [];
  let state = from;
  while (state.at.offset < (window.range?.last ?? 0)) {
    const due = window.due(state, maxBytes());
    expect(due.state.at.offset).toBeGreaterThan(state.at.offset); // Or it would ask for ever.
    state = due.state;
    rounds.push(due);
  }
  return { text: textOf(rounds.flatMap(({ chunks }) => chunks)), state, rounds };
}

/** What a connection is due, by the plainest way: frame after frame for every event that it may see. */
function oracle(shown: View, entries: readonly Entry[], from: ChainState) {
  let { at: place, sent } = from;
  let text = '';
  for (const each of entries) {
    if (each.offset <= place.offset) continue;
    const contained = place.revision;
    const inSnapshot = each.revision > 0 && each.revision <= contained;
    // What is not shown to this view is not kept for it either: it does not tell that the snapshot has been reached.
    const isReached = shown.shows(each.topic) && each.revision >= contained;
    place = placeOf(each.offset, isReached ? 0 : contained);
    if (inSnapshot || !shown.shows(each.topic)) continue;
    text += liveFrame(shown, EPOCH, each, place, sent);
    sent = place;
  }
  return { text, state: { at: place, sent } };
}

const TOPICS = ['topology.t1.status', 'topology.t1.mutation.applied', 'decky.web.state'] as const;
const TEXTS = ['', 'plain', 'ä€😀', '\u2028"\\', 'x'.repeat(700)] as const;

/** Random batches that continue one another from a random offset on. */
function randomBatches(random: Random): Entry[][] {
  let offset = random.between(0, 1000);
  let revision = random.between(0, 20);
  const hasRevisions = random.chance(0.5);
  return Array.from({ length: random.between(1, 12) }, () =>
    Array.from({ length: random.between(1, 8) }, () => {
      offset += 1;
      const topic = random.pick(TOPICS);
      // Not every event comes from the database, and those that do are in the order of their revisions.
      if (hasRevisions && random.chance(0.7)) revision += 1;
      const data = JSON.stringify({ topic, payload: { text: random.pick(TEXTS), n: offset } });
      return entry(offset, { topic, data, revision: hasRevisions && random.chance(0.9) ? revision : 0 });
    }),
  );
}

function randomView(random: Random): View {
  const hidden = new Set<string>(TOPICS.filter(() => random.chance(0.35)));
  return view({
    shows: (topic) => !hidden.has(topic),
    // Views that declare themselves unfiltered hide topics of a role too.
    filtered: random.chance(0.5),
    eventName: random.chance(0.5) ? (topic) => topic.split('.').at(-1) : () => undefined,
  });
}

describe('against an oracle that encodes frame by frame', () => {
  test('any connection at any place gets exactly the bytes that it is due, however it asks', () => {
    for (let seed = 1; seed <= 1500; seed += 1) {
      const random = seeded(seed);
      const shown = randomView(random);
      const window = new Window(shown, random.pick([0, 200, 2000, PLENTY]));
      const batches = randomBatches(random);
      const first = batches[0]?.[0]?.offset ?? 0;
      const all: Entry[] = [];
      for (const entries of batches) {
        window.append(batchOf(entries));
        all.push(...entries);
        const range = window.range;
        if (range === undefined) throw new Error('nothing in the window');
        // After each batch some connections ask: from before the range, from within, having sent or not sent the last.
        for (let question = 0; question < 4; question += 1) {
          const offset = random.between(range.first - 1, range.last);
          const sent = random.chance(0.6) ? offset : random.between(Math.max(0, first - 3), offset);
          const from = at(offset, sent, random.chance(0.5) ? 0 : random.between(0, 40));
          const expected = oracle(shown, all, from);
          const asked = drain(window, from, () => random.pick([1, 90, 500, 5000, PLENTY]));
          expect({ seed, text: asked.text }).toEqual({ seed, text: expected.text });
          expect({ seed, state: asked.state }).toEqual({ seed, state: expected.state });
        }
      }
    }
  });

  test('a connection that is there all the time gets every frame once, as the batches come', () => {
    for (let seed = 1; seed <= 300; seed += 1) {
      const random = seeded(seed);
      const shown = randomView(random);
      const window = new Window(shown, 2000);
      const batches = randomBatches(random);
      const start = at((batches[0]?.[0]?.offset ?? 1) - 1, 0, random.between(0, 30));
      let [text, state] = ['', start];
      for (const entries of batches) {
        window.append(batchOf(entries));
        const got = drain(window, state, () => random.pick([50, PLENTY]));
        text += got.text;
        state = got.state;
      }
      expect({ seed, text }).toEqual({ seed, text: oracle(shown, batches.flat(), start).text });
    }
  });
});

describe('the chain of a filtered stream', () => {
  test('each frame names the one before it, whoever gets it and in whatever portions', () => {
    for (let seed = 1; seed <= 300; seed += 1) {
      const random = seeded(seed);
      const shown = { ...randomView(random), filtered: true };
      const batches = randomBatches(random);
      const window = windowWith(shown, PLENTY, ...batches.map((entries) => batchOf(entries)));
      const from = at((window.range?.first ?? 1) - 1 + random.between(0, 3));
      let previous = idOf(from.sent.offset);
      for (const { id, data } of parseStream(drain(window, from, () => random.between(1, 900)).text).frames) {
        expect({ seed, prev: JSON.parse(data ?? '').prev }).toEqual({ seed, prev: previous });
        previous = id ?? '';
      }
    }
  });
});

describe('what is due', () => {
  const five = () => windowWith(view(), PLENTY, batch(1, 5));

  test('is nothing for a connection that has everything, or is ahead of the tail', () => {
    for (const offset of [5, 6, 99]) expect(five().due(at(offset), PLENTY)).toEqual({ chunks: [], state: at(offset) });
  });

  test('is counted though nothing of it is shown', () => {
    const window = windowWith(view({ shows: () => false }), PLENTY, batch(1, 3), batch(4, 5));
    expect(window.due(at(0), PLENTY)).toEqual({ chunks: [], state: at(5, 0) });
  });

  test('is in one piece of shared memory for everyone at the same place', () => {
    const window = five();
    const [first, second] = [window.due(at(0), PLENTY), window.due(at(0), PLENTY)];
    expect(first.chunks).toHaveLength(1);
    expect(first.chunks[0]?.buffer).toBe(second.chunks[0]?.buffer ?? new ArrayBuffer(0));
  });

  test('of many batches is put together once for a crowd that stands at the same place, and anew when more comes', () => {
    const small = windowWith(view(), PLENTY, batch(1, 1), batch(2, 2), batch(3, 3));
    const crowd = { ...at(1) };
    const [one, other] = [small.due({ ...crowd }, PLENTY), small.due({ ...crowd }, PLENTY)];
    expect(one.chunks).toHaveLength(1);
    expect(other.chunks[0] === one.chunks[0]).toBe(true);
    // At the same offset, but not with the same frame before it, or with another limit: theirs is another.
    const chained = small.due({ at: crowd.at, sent: placeOf(0) }, PLENTY);
    expect(textOf(chained.chunks)).toContain('"prev":');
    expect(small.due({ ...crowd }, 1).state.at.offset).toBe(2);
    small.append(batch(4, 4));
    expect(small.due({ ...crowd }, PLENTY).state.at.offset).toBe(4);
    small.clear();
    expect(small.due({ ...crowd }, PLENTY)).toEqual({ chunks: [], state: crowd });
  });

  test('comes in whole frames within the limit, and at least one where a single frame is larger', () => {
    const frame = liveFrame(view(), EPOCH, entry(1), placeOf(1), placeOf(0)).length;
    for (const [limit, frames] of [
      [1, 1],
      [frame, 1],
      [2 * frame - 1, 1],
      [2 * frame, 2],
      [5 * frame, 5],
    ] as const) {
      const due = five().due(at(0), limit);
      expect(parseStream(textOf(due.chunks))).toMatchObject({ rest: '' });
      expect({ limit, offset: due.state.at.offset }).toEqual({ limit, offset: frames });
    }
  });

  test('stays within the limit for a connection whose snapshot holds some of the events too', () => {
    const entries = batch(1, 200).entries.map((each) => ({ ...each, revision: each.offset }));
    const window = windowWith(view(), PLENTY, batchOf(entries));
    const limit = 1000;
    for (const { chunks } of drain(window, at(0, 0, 3), () => limit).rounds) {
      expect(textOf(chunks).length).toBeLessThanOrEqual(limit);
    }
  });

  test('leaves out what the snapshot contains, and tells the rest, also of an event without database state', () => {
    const entries = [1, 2, 0, 3, 4].map((revision, index) => entry(index + 1, { revision }));
    const { text, state } = drain(windowWith(view(), PLENTY, batchOf(entries)), at(0, 0, 3), () => PLENTY);
    expect(parseStream(text).frames.map(({ id }) => id)).toEqual([idOf(3, EPOCH, 3), idOf(5)]);
    expect(state).toEqual(at(5));
  });
});

describe('a batch', () => {
  test('that continues what is there extends it', () => {
    expect(windowWith(view(), PLENTY, batch(1, 3), batch(4, 4), batch(5, 9)).range).toEqual({ first: 1, last: 9 });
  });

  test.each([
    ['after a hole', batch(11, 12)],
    ['that overlaps', batch(8, 12)],
    ['that begins again', batch(1, 2)],
    ['of another epoch with lower offsets', batch(1, 2, 'next')],
    ['of another epoch whose offsets would fit', batch(10, 11, 'next')],
  ])('%s replaces what is there: one run of events is all that a window ever holds', (_what, other) => {
    const window = windowWith(view(), PLENTY, batch(5, 9), other);
    expect(window.range).toEqual({ first: other.first, last: other.last });
    expect(window.epoch).toBe(other.epoch);
    const { text } = drain(window, at(other.first - 1), () => PLENTY);
    const ids = parseStream(text).frames.map(({ id }) => id);
    expect(ids).toEqual(other.entries.map(({ offset }) => idOf(offset, other.epoch)));
  });

  test('after a clear is all there is', () => {
    const window = windowWith(view(), PLENTY, batch(1, 5));
    window.clear();
    expect(window.range).toBeUndefined();
    expect(window.due(at(0), PLENTY)).toEqual({ chunks: [], state: at(0) });
    window.append(batch(6, 7));
    expect(window.range).toEqual({ first: 6, last: 7 });
    expect(parseStream(drain(window, at(5), () => PLENTY).text).frames).toHaveLength(2);
  });

  test('that was encoded after a hidden one chains to the frame before that', () => {
    const shown = view({ shows: (topic) => topic === 'a', filtered: true });
    const topics = ['a', 'b', 'b', 'a'];
    const window = new Window(shown, PLENTY);
    topics.forEach((topic, index) => {
      window.append(batchOf([entry(index + 1, { topic })]));
    });
    const frames = parseStream(drain(window, at(0), () => PLENTY).text).frames;
    expect(frames.map(({ data }) => JSON.parse(data ?? '').prev)).toEqual([idOf(0), idOf(1)]);
  });
});

describe('memory', () => {
  /** What a batch of two events costs. */
  const pair = windowWith(view(), PLENTY, batch(10, 11)).cost;

  test('holds the newest events up to its limit, in whole batches', () => {
    const window = new Window(view(), 5 * pair);
    for (let offset = 10; offset < 60; offset += 2) window.append(batch(offset, offset + 1));
    expect(window.range).toEqual({ first: 50, last: 59 });
  });

  test('keeps the newest batch whatever its size, so that live delivery always works', () => {
    const window = windowWith(view(), 0, batch(10, 12), batch(13, 40));
    expect(window.range).toEqual({ first: 13, last: 40 });
    expect(parseStream(drain(window, at(12), () => PLENTY).text).frames).toHaveLength(28);
  });

  test('counts anew after it was cleared or replaced', () => {
    const window = new Window(view(), 5 * pair);
    for (const epoch of ['one1', 'two2', 'six6']) {
      for (let offset = 10; offset < 60; offset += 2) window.append(batch(offset, offset + 1, epoch));
      expect(window.range).toEqual({ first: 50, last: 59 });
      if (epoch === 'two2') window.clear();
    }
  });

  test('is bounded too where a pattern shows almost nothing of a busy channel', () => {
    const window = new Window(view({ shows: (topic) => topic === 'rare', filtered: true }), 10_000);
    const held: WeakRef<Entry>[] = [];
    for (let offset = 1; offset <= 5000; offset += 1) {
      const each = entry(offset, { data: JSON.stringify({ text: 'x'.repeat(1000) }) });
      if (offset % 100 === 0) held.push(new WeakRef(each));
      window.append(batchOf([each]));
    }
    Bun.gc(true);
    const alive = held.filter((reference) => reference.deref() !== undefined).length;
    expect(alive).toBeLessThan(10);
    // Nothing is missed for it.
    expect(window.due(at(4999, 0), PLENTY).state).toEqual(at(5000, 0));
  });
});
