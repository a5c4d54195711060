import { describe, expect, test } from 'bun:test';
import { formatCursor, NO_PROOF, parseCursor, UNPROVEN } from '../../src/bus/cursor.ts';

describe('a cursor', () => {
  test.each([
    ['k3v9.41.0a1b2c3d', { epoch: 'k3v9', offset: 41, proof: '0a1b2c3d', revision: 0 }],
    ['k3v9.41.0a1b2c3d.7', { epoch: 'k3v9', offset: 41, proof: '0a1b2c3d', revision: 7 }],
    ['k3v9.41.0a1b2c3d.e', { epoch: 'k3v9', offset: 41, proof: '0a1b2c3d', revision: 0, evicted: true }],
    ['k3v9.41.0a1b2c3d.7.e', { epoch: 'k3v9', offset: 41, proof: '0a1b2c3d', revision: 7, evicted: true }],
    ['0.0.0', { epoch: '0', offset: 0, proof: '0', revision: 0 }],
    [`${'z'.repeat(32)}.1.00000000`, { epoch: 'z'.repeat(32), offset: 1, proof: '00000000', revision: 0 }],
    [
      `e.${Number.MAX_SAFE_INTEGER}.ffffffff.${Number.MAX_SAFE_INTEGER}`,
      { epoch: 'e', offset: Number.MAX_SAFE_INTEGER, proof: 'ffffffff', revision: Number.MAX_SAFE_INTEGER },
    ],
  ])('%s is read and written back the same', (text, cursor) => {
    expect(parseCursor(text)).toEqual(cursor);
    expect(formatCursor(cursor)).toBe(text);
  });

  test('without a proof names its place all the same, so that the reset can say what is wrong with it', () => {
    expect(parseCursor('k3v9.41')).toEqual({ epoch: 'k3v9', offset: 41, proof: UNPROVEN, revision: 0 });
    expect(parseCursor('k3v9.0')).toEqual({ epoch: 'k3v9', offset: 0, proof: NO_PROOF, revision: 0 });
  });

  // A cursor comes from a header or a query of anybody: what is not exactly one is none.
  test.each([
    ['nothing', ''],
    ['no offset', 'k3v9'],
    ['an empty offset', 'k3v9.'],
    ['an empty epoch', '.41'],
    ['only the dot', '.'],
    ['an empty proof', 'k3v9.41.'],
    ['a proof of seven digits', 'k3v9.41.0a1b2c3'],
    ['a proof of nine digits', 'k3v9.41.0a1b2c3d4'],
    ['a proof in upper case', 'k3v9.41.0A1B2C3D'],
    ['a proof that is no number', 'k3v9.41.0a1b2c3g'],
    ['a revision of zero', 'k3v9.41.0a1b2c3d.0'],
    ['a revision beyond 2^53', 'k3v9.41.0a1b2c3d.9007199254740993'],
    ['another mark', 'k3v9.41.0a1b2c3d.x'],
    ['a fifth number', 'k3v9.41.0a1b2c3d.1.1'],
    ['upper case', 'K3V9.41.0a1b2c3d'],
    ['a dash', 'k3-v9.41.0a1b2c3d'],
    ['a letter beyond ASCII', 'é.41.0a1b2c3d'],
    ['digits of another script', 'k3v9.\u0664\u0661.0a1b2c3d'],
    ['an epoch of 33 characters', `${'z'.repeat(33)}.1.0a1b2c3d`],
    ['a leading zero', 'k3v9.041.0a1b2c3d'],
    ['two zeros', 'k3v9.00.0a1b2c3d'],
    ['a sign', 'k3v9.+41.0a1b2c3d'],
    ['a negative offset', 'k3v9.-1.0a1b2c3d'],
    ['a fraction', 'k3v9.4.1'],
    ['an exponent', 'k3v9.4e1.0a1b2c3d'],
    ['hexadecimal', 'k3v9.0x1f.0a1b2c3d'],
    ['2^53, where numbers stop counting', 'k3v9.9007199254740992.0a1b2c3d'],
    ['17 digits', 'k3v9.10000000000000000.0a1b2c3d'],
    ['a thousand digits', `k3v9.${'9'.repeat(1000)}.0a1b2c3d`],
    ['NUL before', '\u0000k3v9.41.0a1b2c3d'],
    ['NUL within', 'k3v9.4\u00001.0a1b2c3d'],
    ['NUL after', 'k3v9.41.0a1b2c3d\u0000'],
    ['a newline after', 'k3v9.41.0a1b2c3d\n'],
    ['a newline and a field', 'k3v9.41.0a1b2c3d\nevent: reset'],
    ['a carriage return after', 'k3v9.41.0a1b2c3d\r'],
    ['space before', ' k3v9.41.0a1b2c3d'],
    ['space after', 'k3v9.41.0a1b2c3d '],
    ['a Redis stream id', '41-0'],
    ['a wildcard', '$'],
  ])('with %s is refused', (_what, text) => {
    expect(parseCursor(text)).toBeUndefined();
  });
});
