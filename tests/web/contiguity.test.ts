import { describe, expect, test } from 'bun:test';
import { Contiguity, type Counters } from '../../src/web/app/contiguity.ts';
import { type Frame, readFrame } from '../../src/web/app/frame.ts';

const EPOCH = 'k3v9';
const NOTHING: Counters = { events: 0, duplicates: 0, gaps: 0, resumes: 0, resets: 0 };

/** An id as the server writes it. */
const idOf = (offset: number, epoch = EPOCH): string => `${epoch}.${offset}.${String(offset).padStart(8, '0')}`;

/** `[name, offset or id, prev offset]`, as a stream would deliver it. */
type Step = readonly [name: string, at: number | string, prev?: number];

function frame([name, at, prev]: Step): Frame {
  const id = typeof at === 'number' ? idOf(at) : at;
  return readFrame(name, id, JSON.stringify(prev === undefined ? {} : { prev: idOf(prev) }));
}

/** Runs the steps and tells what each was found to be. */
function run(...steps: Step[]) {
  const chain = new Contiguity();
  const verdicts = steps.map((step) => chain.accept(frame(step)));
  return { verdicts, counters: chain.counters, position: chain.position };
}

describe('an unbroken stream', () => {
  test('counts every event after the snapshot and finds nothing wrong', () => {
    const { verdicts, counters, position } = run(['snapshot', 41], ['mutation.enqueued', 42], ['mutation.applied', 43]);
    expect(verdicts).toEqual(['opened', 'next', 'next']);
    expect(counters).toEqual({ ...NOTHING, events: 2 });
    expect(position).toBe(idOf(43));
  });

  test('starts from an empty channel', () => {
    expect(run(['snapshot', 0], ['status', 1]).verdicts).toEqual(['opened', 'next']);
  });

  test('has no position before its first frame', () => {
    expect(run().position).toBeUndefined();
  });

  test('resumes after the last id, on as many connections as it takes', () => {
    const { counters } = run(
      ['ready', 7],
      ['message', 8],
      ['resumed', 8],
      ['message', 9],
      ['resumed', 9],
      ['message', 10],
    );
    expect(counters).toEqual({ ...NOTHING, events: 3, resumes: 2 });
  });

  test('may be broken by a reset, which is followed by a fresh snapshot', () => {
    const { verdicts, counters } = run(
      ['snapshot', 5],
      ['reset', idOf(90, 'other')],
      ['snapshot', idOf(90, 'other')],
      ['status', idOf(91, 'other')],
    );
    expect(verdicts).toEqual(['opened', 'opened', 'opened', 'next']);
    expect(counters).toEqual({ ...NOTHING, events: 1, resets: 1 });
  });

  test('may be reset without a position of its own', () => {
    expect(run(['snapshot', 5], ['reset', ''], ['snapshot', 60], ['status', 61]).counters.gaps).toBe(0);
  });

  test('may open with a snapshot that has no place yet, while the log cannot be reached', () => {
    const fresh = run(['snapshot', ''], ['snapshot', 5], ['status', 6]);
    expect(fresh).toEqual({
      verdicts: ['opened', 'opened', 'next'],
      counters: { ...NOTHING, events: 1 },
      position: idOf(6),
    });
    expect(run(['snapshot', 5], ['snapshot', ''], ['resumed', 5], ['status', 6]).counters.gaps).toBe(0);
  });

  test('may be reset to an earlier offset of the same epoch', () => {
    const { counters, position } = run(['snapshot', 50], ['reset', ''], ['snapshot', 3], ['status', 4]);
    expect(counters).toEqual({ ...NOTHING, events: 1, resets: 1 });
    expect(position).toBe(idOf(4));
  });
});

describe('a filtered stream', () => {
  test('follows prev over the events that are not for this role', () => {
    const { verdicts, counters } = run(['ready', 10], ['message', 14, 10], ['message', 15, 14], ['message', 30, 15]);
    expect(verdicts).toEqual(['opened', 'next', 'next', 'next']);
    expect(counters.gaps).toBe(0);
  });

  test('is moved on by a position, which is no event', () => {
    const { verdicts, counters } = run(['ready', 10], ['position', 25, 10], ['message', 26, 25]);
    expect(verdicts).toEqual(['opened', 'moved', 'next']);
    expect(counters).toEqual({ ...NOTHING, events: 1 });
  });

  test('takes a position without prev as the server’s word', () => {
    expect(run(['snapshot', 10], ['position', 12], ['status', 13]).verdicts).toEqual(['opened', 'moved', 'next']);
  });

  test('shows a gap where prev is not the last id', () => {
    expect(run(['ready', 10], ['message', 14, 12]).verdicts).toEqual(['opened', 'gap']);
    expect(run(['ready', 10], ['position', 14, 12]).verdicts).toEqual(['opened', 'gap']);
  });

  test('does not let a position move back', () => {
    const { verdicts, position } = run(['ready', 10], ['position', 8], ['message', 11]);
    expect(verdicts).toEqual(['opened', 'moved', 'next']);
    expect(position).toBe(idOf(11));
  });
});

describe('a stream whose slot went to another one', () => {
  test('keeps its place, marked, until it gets in again', () => {
    const chain = new Contiguity();
    chain.accept(frame(['snapshot', 41]));
    chain.accept(frame(['status', 42]));
    expect(chain.accept(frame(['evicted', `${idOf(42)}.e`]))).toBe('moved');
    expect(chain.position).toBe(`${idOf(42)}.e`);
    expect(chain.accept(frame(['resumed', 42]))).toBe('opened');
    expect(chain.position).toBe(idOf(42));
    expect(chain.accept(frame(['status', 43]))).toBe('next');
    expect(chain.counters).toEqual({ ...NOTHING, events: 2, resumes: 1 });
  });

  test('is not taken for broken on a filtered stream, whose next event names the unmarked id', () => {
    const steps: Step[] = [
      ['ready', 10],
      ['evicted', `${idOf(10)}.e`],
      ['resumed', 10],
      ['message', 14, 10],
    ];
    expect(run(...steps).verdicts).toEqual(['opened', 'moved', 'opened', 'next']);
  });

  test('is marked also when the server, which cannot reach its log, names no id', () => {
    expect(run(['snapshot', 5], ['evicted', '']).position).toBe(`${idOf(5)}.e`);
  });

  test('does not believe the frame about what has arrived: what is missing is asked for, and a gap stays one', () => {
    const { position, counters } = run(['snapshot', 5], ['evicted', `${idOf(9)}.e`], ['resumed', 9]);
    expect(run(['snapshot', 5], ['evicted', `${idOf(9)}.e`]).position).toBe(`${idOf(5)}.e`);
    expect(counters.gaps).toBe(1);
    expect(position).toBe(idOf(9));
  });

  test('waits as well when it was refused without a frame', () => {
    const chain = new Contiguity();
    chain.refused();
    expect(chain.position).toBeUndefined();
    chain.accept(frame(['snapshot', 3]));
    expect(chain.position).toBe(idOf(3));
    chain.refused();
    expect(chain.position).toBe(`${idOf(3)}.e`);
    chain.accept(frame(['reset', '']));
    chain.accept(frame(['snapshot', 8]));
    expect(chain.position).toBe(idOf(8));
  });
});

describe('a broken stream', () => {
  test('shows a gap once and goes on from there', () => {
    const { verdicts, counters } = run(['snapshot', 1], ['status', 2], ['status', 4], ['status', 5]);
    expect(verdicts).toEqual(['opened', 'next', 'gap', 'next']);
    expect(counters).toEqual({ ...NOTHING, events: 3, gaps: 1 });
  });

  test('shows duplicates and does not move back for them', () => {
    const { verdicts, position } = run(['snapshot', 1], ['status', 2], ['status', 2], ['status', 1], ['status', 3]);
    expect(verdicts).toEqual(['opened', 'next', 'duplicate', 'duplicate', 'next']);
    expect(position).toBe(idOf(3));
  });

  test('shows an event that comes twice on a filtered stream', () => {
    expect(run(['ready', 1], ['message', 5, 1], ['message', 5, 1]).verdicts).toEqual(['opened', 'next', 'duplicate']);
  });

  test.each<[string, Step[]]>([
    [
      'a resume that goes on too late',
      [
        ['snapshot', 1],
        ['resumed', 3],
      ],
    ],
    [
      'a resume in another epoch',
      [
        ['snapshot', 1],
        ['resumed', idOf(1, 'other')],
      ],
    ],
    [
      'another epoch without a reset',
      [
        ['snapshot', 1],
        ['status', idOf(2, 'other')],
      ],
    ],
    [
      'a position in another epoch',
      [
        ['snapshot', 1],
        ['position', idOf(2, 'other')],
      ],
    ],
    [
      'a later snapshot that no reset announced',
      [
        ['snapshot', 1],
        ['snapshot', 4],
      ],
    ],
    [
      'a second snapshot after one reset',
      [
        ['snapshot', 1],
        ['reset', 4],
        ['snapshot', 4],
        ['snapshot', 9],
      ],
    ],
    ['an event before any opening frame', [['status', 1]]],
    [
      'an event without an id',
      [
        ['snapshot', 1],
        ['status', ''],
      ],
    ],
    [
      'an id that is no cursor',
      [
        ['snapshot', 1],
        ['status', 'k3v9.02'],
      ],
    ],
    [
      'a late resume after a snapshot without an id',
      [
        ['snapshot', 1],
        ['snapshot', ''],
        ['resumed', 3],
      ],
    ],
  ])('shows %s as a gap', (_, steps) => {
    const { verdicts, counters } = run(...steps);
    expect(verdicts.at(-1)).toBe('gap');
    expect(counters.gaps).toBe(1);
  });

  test('that resumes too early has its repetitions counted one by one', () => {
    const { counters } = run(
      ['snapshot', 1],
      ['status', 2],
      ['status', 3],
      ['resumed', 1],
      ['status', 2],
      ['status', 3],
    );
    expect(counters).toEqual({ ...NOTHING, events: 4, duplicates: 2, resumes: 1 });
  });
});
