import { describe, expect, test } from 'bun:test';
import { UNPROVEN } from '../../src/bus/cursor.ts';
import { type OffsetRange, type Resumption, recovery, type Standing } from '../../src/stream/recovery.ts';
import { seeded } from '../support/random.ts';
import { placeOf, proofOf } from './support.ts';

const EPOCH = 'k3v9';
const from = (offset: number, epoch = EPOCH, proof = proofOf(offset)): Resumption => ({
  kind: 'from',
  cursor: { epoch, ...placeOf(offset), proof },
});
/** Where the channel stands; what it says of the reader's place is added when it is asked about one. */
const standing = (offset: number, nextKept: boolean): Omit<Standing, 'readerProof'> => ({
  epoch: EPOCH,
  ...placeOf(offset),
  nextKept,
});

/** What the log answers to a request, as `position.lua` does: it knows the proof of its end, and of what it has kept the next event of. */
function asked(request: Resumption, where: Omit<Standing, 'readerProof'>): Standing {
  const offset = request.kind === 'from' ? request.cursor.offset : -1;
  const isKnown = offset === where.offset || (offset >= 0 && offset < where.offset && where.nextKept);
  return { ...where, readerProof: isKnown ? proofOf(offset) : '' };
}
const resume = (offset: number) => ({ kind: 'resume', place: placeOf(offset) }) as const;
const reset = (reason: 'trimmed' | 'epoch' | 'ahead' | 'malformed') => ({ kind: 'reset', reason }) as const;

describe('how a stream opens', () => {
  test.each([
    ['without a cursor, on an empty channel', { kind: 'fresh' }, standing(0, false), { kind: 'snapshot' }],
    ['without a cursor', { kind: 'fresh' }, standing(9, false), { kind: 'snapshot' }],
    ['with what is no cursor', { kind: 'malformed' }, standing(9, true), reset('malformed')],
    ['at the newest event: nothing is missing, so nothing need be kept', from(9), standing(9, false), resume(9)],
    ['at the start of an empty channel', from(0), standing(0, false), resume(0)],
    ['one behind, its next event kept', from(8), standing(9, true), resume(8)],
    ['one behind, its next event trimmed', from(8), standing(9, false), reset('trimmed')],
    ['far behind, its next event kept', from(0), standing(9, true), resume(0)],
    ['far behind, its next event trimmed', from(0), standing(9, false), reset('trimmed')],
    ['one ahead', from(10), standing(9, false), reset('ahead')],
    ['far ahead', from(Number.MAX_SAFE_INTEGER), standing(9, false), reset('ahead')],
    ['ahead of an empty channel', from(1), standing(0, false), reset('ahead')],
    [
      'at the newest number, which another event has now',
      from(9, EPOCH, 'deadbeef'),
      standing(9, false),
      reset('ahead'),
    ],
    ['behind, where history was another one', from(4, EPOCH, 'deadbeef'), standing(9, true), reset('ahead')],
    ['without a proof', from(9, EPOCH, UNPROVEN), standing(9, false), reset('malformed')],
    ['without a proof, and of another epoch', from(9, 'other', UNPROVEN), standing(9, false), reset('epoch')],
    ['at the start, which proves itself', from(0, EPOCH, '0'), standing(9, true), resume(0)],
    ['of another epoch, behind', from(1, 'other'), standing(9, true), reset('epoch')],
    ['of another epoch, at the same offset', from(9, 'other'), standing(9, false), reset('epoch')],
    ['of another epoch, ahead: the epoch is why', from(99, 'other'), standing(9, false), reset('epoch')],
  ] as const)('%s', (_when, request, where, opening) => {
    expect(recovery.open(request, asked(request, where))).toEqual(opening);
  });

  test('never resumes where a later event is missing, and never resets where all are there', () => {
    for (let seed = 1; seed <= 2000; seed += 1) {
      const random = seeded(seed);
      const newest = random.between(0, 12);
      const oldest = random.between(1, newest + 1); // Kept: oldest…newest; trimmed from the front only.
      const epoch = random.pick([EPOCH, EPOCH, EPOCH, 'other']);
      const cursor = { epoch, ...placeOf(random.between(0, 14)) };
      const request: Resumption = { kind: 'from', cursor };
      const nextKept = cursor.offset + 1 >= oldest && cursor.offset + 1 <= newest;
      const opening = recovery.open(request, asked(request, standing(newest, nextKept)));
      const isComplete = epoch === EPOCH && cursor.offset <= newest && cursor.offset >= oldest - 1;
      expect({ seed, opening: opening.kind }).toEqual({ seed, opening: isComplete ? 'resume' : 'reset' });
      if (opening.kind === 'resume') expect(opening.place).toEqual(placeOf(cursor.offset));
    }
  });
});

describe('an event that is read from history', () => {
  test.each([
    [5, 0, 'repeated'],
    [5, 4, 'repeated'],
    [5, 5, 'repeated'],
    [5, 6, 'next'],
    [5, 7, 'gap'],
    [5, 99, 'gap'],
    [0, 1, 'next'],
    [0, 2, 'gap'],
  ] as const)('for a connection at %i, event %i: %s', (offset, found, verdict) => {
    expect(recovery.accept(placeOf(offset), { offset: found, before: proofOf(found - 1) })).toBe(verdict);
  });

  test('that has the next number in a history that is another one: gap', () => {
    expect(recovery.accept(placeOf(5), { offset: 6, before: 'deadbeef' })).toBe('gap');
  });

  test('sent only when it is next gives every event once, however often and in whatever portions it is read', () => {
    for (let seed = 1; seed <= 500; seed += 1) {
      const random = seeded(seed);
      const sent: number[] = [];
      let offset = 0;
      while (offset < 30) {
        // A read that begins anywhere at or before the place: repeated after a lost answer, or moved back.
        const begin = random.between(0, offset) + 1;
        for (let found = begin; found <= Math.min(30, begin + random.between(0, 12)); found += 1) {
          const event = { offset: found, before: proofOf(found - 1) };
          if (recovery.accept(placeOf(offset), event) !== 'next') continue;
          sent.push(found);
          offset = found;
        }
      }
      expect({ seed, sent }).toEqual({ seed, sent: Array.from({ length: 30 }, (_, index) => index + 1) });
    }
  });
});

describe('what memory holds for a connection', () => {
  const range: OffsetRange = { first: 10, last: 20 };

  test.each([
    ['two before the first event: one is missing in between', 8, 'history'],
    ['one before the first: the whole range is due', 9, 'memory'],
    ['at the first', 10, 'memory'],
    ['one before the last', 19, 'memory'],
    ['at the last: it has all there is', 20, 'nothing'],
    ['ahead of the tail, by what it read itself', 21, 'nothing'],
    ['at the very start', 0, 'history'],
  ] as const)('%s', (_where, offset, due) => {
    expect(recovery.due(offset, range)).toBe(due);
  });

  test.each([0, 5])('while memory is empty: nothing, at %i', (offset) => {
    expect(recovery.due(offset, undefined)).toBe('nothing');
  });

  test.each([
    [0, 'memory'],
    [1, 'nothing'],
  ] as const)('in a range of the first event only, at %i: %s', (offset, due) => {
    expect(recovery.due(offset, { first: 1, last: 1 })).toBe(due);
  });
});
