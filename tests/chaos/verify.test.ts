import { describe, expect, test } from 'bun:test';
import type { RawFrame } from './line.ts';
import { type Kept, Past } from './past.ts';
import { Reader, type Watch } from './verify.ts';

const CHANNEL = 'topology.t';
const WATCH: Watch = {
  ...{ path: '/topologies/t/events', channel: CHANNEL, shows: () => true },
  ...{ filtered: false, hasState: true },
};
/** Shows one event of two. */
const PATTERN: Watch = {
  ...{ path: '/events', channel: CHANNEL, shows: (topic) => !topic.endsWith('.hidden') },
  ...{ filtered: true, hasState: false },
};

/** The proof of the nth event of a history that a letter names: readable, and eight hex digits. */
function proof(n: number, history = 'a'): string {
  return n === 0 ? '0' : `${history}${String(n).padStart(7, '0')}`;
}

function kept(offset: number, changes: Partial<Kept> = {}): Kept {
  const data = JSON.stringify({ n: offset });
  const place = { offset, proof: proof(offset), before: proof(offset - 1) };
  return { ...place, id: `event${offset}`, topic: `${CHANNEL}.note`, data, revision: 0, ...changes };
}

/** A log that has held these events in epoch `e`. */
function pastOf(...entries: readonly Kept[]): Past {
  const past = new Past();
  past.record('e', CHANNEL, { entries, first: entries[0]?.offset, newest: entries.at(-1)?.offset ?? 0 });
  return past;
}

const PAST = [1, 2, 3, 4, 5].map((offset) => kept(offset));

function id(offset: number, history = 'a'): string {
  return `e.${offset}.${proof(offset, history)}`;
}

function snapshot(at: string): RawFrame {
  return { id: at, event: 'snapshot', data: '{}' };
}

function told(offset: number, content: object = {}, history = 'a'): RawFrame {
  return { id: id(offset, history), event: 'note', data: JSON.stringify({ n: offset, ...content }) };
}

function reset(reason: string): RawFrame {
  return { id: undefined, event: 'reset', data: JSON.stringify({ reason }) };
}

function resumed(at: string, position: string): RawFrame {
  return { id: at, event: 'resumed', data: JSON.stringify({ position }) };
}

/** What the oracle says to a life: frames, and in between the cursors that the client came back with. */
function verdict(past: Past, watch: Watch, ...life: readonly (RawFrame | string)[]): string[] {
  const reader = new Reader(watch, past);
  const said = life.map((what) => (typeof what === 'string' ? reader.opened(what) : reader.read(what)));
  return said.filter((problem) => problem !== undefined);
}

describe('what is right', () => {
  test.each<[string, readonly (RawFrame | string)[]]>([
    ['a snapshot and what follows it', ['', snapshot(id(2)), told(3), told(4)]],
    ['a resume', ['', snapshot(id(2)), id(2), resumed(id(2), id(5)), told(3), told(4), told(5)]],
    ['a state without a position while the bus is away', ['', { ...snapshot(''), id: undefined }, snapshot(id(1))]],
    ['a reset that is cut off before its snapshot', ['', snapshot('d.9.0'), 'd.9.0', reset('epoch'), 'd.9.0']],
  ])('%s', (_, life) => {
    const past = pastOf(...PAST);
    past.epochs.add('d');
    expect(verdict(past, WATCH, ...life)).toEqual([]);
  });

  test('a filtered stream that says which frame came before', () => {
    const past = pastOf(kept(1), kept(2, { topic: 'x.hidden' }), kept(3), kept(4, { topic: 'x.hidden' }));
    const position = { id: id(4), event: 'position', data: JSON.stringify({ prev: id(3) }) };
    const life = ['', { id: id(1), event: 'ready', data: '{}' }, told(3, { prev: id(1) }), position];
    expect(verdict(past, PATTERN, ...life)).toEqual([]);
  });

  test('a reset when history is gone, when the log came back older, and when it is another', () => {
    const trimmed = pastOf(kept(4), kept(5));
    expect(verdict(trimmed, WATCH, '', snapshot(id(2)), id(2), reset('trimmed'), snapshot(id(5)))).toEqual([]);
    const older = pastOf(...PAST);
    older.rewound();
    older.record('e', CHANNEL, { entries: PAST.slice(0, 3), first: 1, newest: 3 });
    expect(verdict(older, WATCH, '', snapshot(id(5)), id(5), reset('ahead'), snapshot(id(3)))).toEqual([]);
    const other = pastOf(...PAST);
    other.record('f', CHANNEL, { entries: [], first: undefined, newest: 0 });
    expect(verdict(other, WATCH, '', snapshot(id(5)), id(5), reset('epoch'), snapshot('f.0.0'))).toEqual([]);
  });

  test('events that came just after the epoch was rotated, for one who has not noticed yet', () => {
    const past = pastOf(...PAST);
    past.record('f', CHANNEL, { entries: [...PAST, kept(6)], first: 1, newest: 6 });
    expect(verdict(past, WATCH, '', snapshot(id(5)), told(6))).toEqual([]);
    const empty = pastOf();
    empty.record('f', CHANNEL, { entries: [kept(1)], first: 1, newest: 1 });
    expect(verdict(empty, WATCH, '', snapshot(id(0)), told(1))).toEqual([]);
    const flushed = pastOf(...PAST);
    flushed.record('f', CHANNEL, { entries: [kept(6, { before: proof(5, 'b') })], first: 6, newest: 6 });
    expect(verdict(flushed, WATCH, '', snapshot(id(5)), told(6)).join('; ')).toMatch(/is not in the log/);
  });

  test('what the snapshot contains is left out, also after a resume', () => {
    const past = pastOf(kept(1), kept(2, { revision: 7 }), kept(3, { revision: 8 }), kept(4));
    const start = snapshot(`${id(1)}.8`);
    const next = told(4, { prev: `${id(1)}.8` });
    expect(verdict(past, WATCH, '', start, next)).toEqual([]);
    expect(verdict(past, WATCH, '', start, `${id(1)}.8`, resumed(`${id(1)}.8`, id(4)), next)).toEqual([]);
  });
});

test('what all clients have passed is forgotten, and nothing that one of them has still to pass', () => {
  const past = pastOf(...PAST);
  past.forget('e', () => 3);
  const place = { epoch: 'e', revision: 0 };
  const path = past.path(CHANNEL, { ...place, offset: 3, proof: proof(3) }, { ...place, offset: 5, proof: proof(5) });
  expect(path).toEqual(PAST.slice(3));
  expect(
    past.path(CHANNEL, { ...place, offset: 1, proof: proof(1) }, { ...place, offset: 5, proof: proof(5) }),
  ).toMatch(/is not in the log/);
});

describe('what is wrong', () => {
  test.each<[string, RegExp, readonly (RawFrame | string)[]]>([
    ['an event that is left out', /follows e\.2\.\w+ without saying so/, [told(4)]],
    ['one that is left out and admitted', /e\.3 .* was left out/, [told(4, { prev: id(2) })]],
    ['one that comes twice', /comes after/, [told(3), told(3)]],
    ['disorder', /comes after/, [told(3), told(4), told(3)]],
    ['another event under the same number', /carries another event/, [told(3, { n: 'other' })]],
    ['an event that was never in the log', /is not in the log/, [told(3, {}, 'b')]],
    ['a false chain', /says to follow/, [told(3, { prev: id(1) })]],
    ['a position over an event that is due', /e\.3 .* was left out/, [{ ...told(3), event: 'position' }]],
    ['another epoch without a reset', /is of another epoch/, [{ ...told(3), id: 'f.3.a0000003' }]],
    ['a snapshot without a reset', /without a reset/, [snapshot(id(4))]],
    ['a snapshot of an epoch that never was', /never was/, [reset('epoch'), snapshot('f.1.0')]],
    ['a reset though history is there', /history is there/, [id(2), reset('trimmed'), snapshot(id(5))]],
    ['a reset as if the log had come back older', /history is there/, [id(2), reset('ahead'), snapshot(id(5))]],
    ['a reset as if the epoch were another', /history is there/, [reset('epoch'), snapshot(id(5))]],
    ['a resume somewhere else', /instead of/, [id(2), resumed(id(3), id(5))]],
    ['a resume beyond the end', /though the channel stands at/, [id(2), resumed(id(2), id(1))]],
    ['an event without an id', /without id/, [{ ...told(3), id: undefined }]],
    ['an id that is none', /is no cursor/, [{ ...told(3), id: 'nonsense' }]],
    ['a reset without a cursor', /without a cursor/, [reset('epoch'), reset('epoch')]],
    ['an event before any position', /before any position/, [reset('trimmed'), told(3)]],
  ])('%s', (_, problem, life) => {
    expect(verdict(pastOf(...PAST), WATCH, '', snapshot(id(2)), ...life).join('; ')).toMatch(problem);
  });

  test('going on over a hole: the log came back older, and handed the numbers out again', () => {
    const past = pastOf(...PAST);
    past.rewound();
    const again = [4, 5, 6].map((offset) =>
      kept(offset, { proof: proof(offset, 'b'), before: offset === 4 ? proof(3) : proof(offset - 1, 'b') }),
    );
    past.record('e', CHANNEL, { entries: [...PAST.slice(0, 3), ...again], first: 1, newest: 6 });
    const problems = verdict(past, WATCH, '', snapshot(id(5)), id(5), resumed(id(5), id(6, 'b')), told(6, {}, 'b'));
    expect(problems.join('; ')).toMatch(/e\.6\.b\w+ does not continue e\.5\.a\w+/);
  });

  test('standing on an event that the log does not hold', () => {
    const past = pastOf(...PAST);
    past.rewound();
    past.record('e', CHANNEL, { entries: PAST.slice(0, 4), first: 1, newest: 4 });
    past.record('e', CHANNEL, { entries: [kept(5, { proof: proof(5, 'b') })], first: 1, newest: 5 });
    const place = { epoch: 'e', offset: 5, revision: 0 };
    expect(past.stands(CHANNEL, { ...place, proof: proof(5) })).toBe(false);
    expect(past.stands(CHANNEL, { ...place, proof: proof(5, 'b') })).toBe(true);
  });

  test('a state event beyond the snapshot that is left out', () => {
    const past = pastOf(kept(1), kept(2, { revision: 9 }), kept(3));
    const problems = verdict(past, WATCH, '', snapshot(`${id(1)}.8`), told(3, { prev: `${id(1)}.8` }));
    expect(problems.join('; ')).toMatch(/e\.2 .* was left out/);
  });

  test('telling what the snapshot contains, also after a resume', () => {
    const past = pastOf(kept(1), kept(2, { revision: 8 }));
    const start = snapshot(`${id(1)}.8`);
    expect(verdict(past, WATCH, '', start, told(2)).join('; ')).toMatch(/though the snapshot contained it/);
    const back = [`${id(1)}.8`, resumed(`${id(1)}.8`, id(2)), told(2)];
    expect(verdict(past, WATCH, '', start, ...back).join('; ')).toMatch(/though the snapshot contained it/);
  });

  test('showing what a filtered stream hides, or not saying what came before', () => {
    const past = pastOf(kept(1), kept(2, { topic: 'x.hidden' }), kept(3));
    const start = { id: id(1), event: 'ready', data: '{}' };
    expect(verdict(past, PATTERN, '', start, told(2, { prev: id(1) })).join('; ')).toMatch(/nothing that this stream/);
    expect(verdict(past, PATTERN, '', start, told(3)).join('; ')).toMatch(/without saying so/);
  });

  test('leaving something out of what a numbering producer said, or telling it in another order, or twice', () => {
    const past = new Past();
    const said = (...numbers: readonly number[]) => {
      const entries = numbers.map((n, index) =>
        kept(index + 1, { id: `${n}`, epoch: 'e', data: JSON.stringify({ payload: { producer: 'worker', n } }) }),
      );
      past.record('e', 'log', { entries, first: 1, newest: entries.length });
      return past.problems.splice(0).join('; ');
    };
    expect(said(1, 2)).toBe('');
    past.rewound();
    expect(said(1, 2, 3)).toBe('');
    expect(past.produced('worker')).toBe(3);
    past.rewound();
    expect(said(1, 2, 3, 5)).toMatch(/event 5 of worker came after 3/);
    past.rewound();
    expect(said(1, 2, 3, 5, 4)).toMatch(/event 4 of worker came after 5/);
    past.forgetProducers(() => false);
    past.rewound();
    expect(said(5)).toBe('');
  });

  test('publishing twice in an epoch, but not in two', () => {
    const past = new Past();
    const publish = (offset: number, epoch: string) => {
      past.record(epoch, 'log', { entries: [kept(offset, { id: 'x', epoch })], first: 1, newest: offset });
    };
    publish(1, 'e');
    publish(2, 'f');
    expect(past.problems).toEqual([]);
    publish(3, 'f');
    expect(past.problems.join('; ')).toMatch(/event x was published twice in epoch f/);
  });
});
