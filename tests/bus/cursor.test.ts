import { describe, expect, test } from 'bun:test';
import { formatCursor, parseCursor } from '../../src/bus/cursor.ts';

describe('a cursor', () => {
  test.each([
    ['k3v9.41', { epoch: 'k3v9', offset: 41 }],
    ['0.0', { epoch: '0', offset: 0 }],
    [`${'z'.repeat(32)}.1`, { epoch: 'z'.repeat(32), offset: 1 }],
    [`e.${Number.MAX_SAFE_INTEGER}`, { epoch: 'e', offset: Number.MAX_SAFE_INTEGER }],
  ])('%s is read and written back the same', (text, cursor) => {
    expect(parseCursor(text)).toEqual(cursor);
    expect(formatCursor(cursor)).toBe(text);
  });

  // A cursor comes from a header or a query of anybody: what is not exactly one is none.
  test.each([
    ['nothing', ''],
    ['no offset', 'k3v9'],
    ['an empty offset', 'k3v9.'],
    ['an empty epoch', '.41'],
    ['only the dot', '.'],
    ['a third part', 'k3v9.41.1'],
    ['upper case', 'K3V9.41'],
    ['a dash', 'k3-v9.41'],
    ['a letter beyond ASCII', 'é.41'],
    ['digits of another script', 'k3v9.\u0664\u0661'],
    ['an epoch of 33 characters', `${'z'.repeat(33)}.1`],
    ['a leading zero', 'k3v9.041'],
    ['two zeros', 'k3v9.00'],
    ['a sign', 'k3v9.+41'],
    ['a negative offset', 'k3v9.-1'],
    ['a fraction', 'k3v9.4.1'],
    ['an exponent', 'k3v9.4e1'],
    ['hexadecimal', 'k3v9.0x1f'],
    ['2^53, where numbers stop counting', 'k3v9.9007199254740992'],
    ['17 digits', 'k3v9.10000000000000000'],
    ['a thousand digits', `k3v9.${'9'.repeat(1000)}`],
    ['NUL before', '\u0000k3v9.41'],
    ['NUL within', 'k3v9.4\u00001'],
    ['NUL after', 'k3v9.41\u0000'],
    ['a newline after', 'k3v9.41\n'],
    ['a newline and a field', 'k3v9.41\nevent: reset'],
    ['a carriage return after', 'k3v9.41\r'],
    ['space before', ' k3v9.41'],
    ['space after', 'k3v9.41 '],
    ['a Redis stream id', '41-0'],
    ['a wildcard', '$'],
  ])('with %s is refused', (_what, text) => {
    expect(parseCursor(text)).toBeUndefined();
  });
});
