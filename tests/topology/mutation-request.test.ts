import { describe, expect, test } from 'bun:test';
import { AppError, type ErrorCode } from '../../src/errors.ts';
import { MUTATION_OPS } from '../../src/topology/model.ts';
import { parseMutationRequest } from '../../src/topology/mutation-request.ts';

/** The code that the body is refused with; `undefined` when it is accepted. */
function refusal(body: unknown): ErrorCode | undefined {
  try {
    parseMutationRequest(body);
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
}

describe('parseMutationRequest', () => {
  test('takes every op of the contract', () => {
    for (const op of MUTATION_OPS) expect(parseMutationRequest({ op }).op).toBe(op);
    expect(MUTATION_OPS).toHaveLength(8);
  });

  test('puts an empty object where no payload is and asks for no version check', () => {
    expect(parseMutationRequest({ op: 'add_lan', note: 'extra' })).toEqual({
      op: 'add_lan',
      payload: {},
      expectedVersion: undefined,
    });
  });

  test.each([
    [2, 2],
    ['2', 2],
    ['2.0', 2],
    [' -3 ', -3],
    [true, 1],
    [false, 0],
    [null, undefined],
  ])('reads expected_version %p as %p', (given, read) => {
    expect(parseMutationRequest({ op: 'add_lan', expected_version: given }).expectedVersion).toBe(read);
  });

  test.each([['abc'], [''], ['2.5'], ['1e3'], ['0x10'], [2.5], [[]], [{}], [Number.NaN]])(
    'refuses expected_version %p',
    (given) => {
      expect(refusal({ op: 'add_lan', expected_version: given })).toBe('invalid');
    },
  );

  test.each([[[]], [[{}]], [null], ['{}'], [1]])('refuses the payload %p', (payload) => {
    expect(refusal({ op: 'add_lan', payload })).toBe('invalid');
  });

  test('tells a missing field from a wrong one', () => {
    expect(refusal(undefined)).toBe('bad_request');
    expect(refusal({})).toBe('bad_request');
    expect(refusal({ payload: [], expected_version: 'abc' })).toBe('bad_request');
    expect(refusal({ op: 'explode' })).toBe('invalid');
    expect(refusal({ op: 7 })).toBe('invalid');
    expect(refusal({ op: null })).toBe('invalid');
    for (const body of [[], null, 'add_lan', 1]) expect(refusal(body)).toBe('invalid');
  });
});
