import { describe, expect, test } from 'bun:test';
import type { SealKey } from '../../src/config.ts';
import { SecretBox, SecretBoxError } from '../../src/webhook/secret-box.ts';

const key = (id: string, byte: number): SealKey => ({ id, key: new Uint8Array(32).fill(byte) });
const OLD = key('2025', 1);
const NEW = key('2026', 2);
const SECRET = 'what nobody may read';

describe('secrets at rest', () => {
  test('come back, and never look the same twice', () => {
    const box = new SecretBox([OLD]);
    const [first, second] = [box.seal(SECRET, 'a'), box.seal(SECRET, 'a')];
    expect(first).not.toBe(second);
    expect(first).not.toContain(SECRET);
    expect(Buffer.from(first.split('.')[2] ?? '', 'base64url').includes(SECRET)).toBe(false);
    expect([box.open(first, 'a'), box.open(second, 'a')]).toEqual([SECRET, SECRET]);
  });

  test('are opened by an older key, and told to be sealed anew', () => {
    const sealed = new SecretBox([OLD]).seal(SECRET, 'a');
    const both = new SecretBox([NEW, OLD]);
    expect(both.open(sealed, 'a')).toBe(SECRET);
    expect(both.isCurrent(sealed)).toBe(false);
    expect(both.isCurrent(both.seal(SECRET, 'a'))).toBe(true);
  });

  test('are refused without their key, under another owner, and when anything was changed', () => {
    const box = new SecretBox([OLD]);
    const sealed = box.seal(SECRET, 'a');
    expect(() => new SecretBox([NEW]).open(sealed, 'a')).toThrow("the key '2025' of a stored secret is not in");
    expect(() => new SecretBox([key('2025', 9)]).open(sealed, 'a')).toThrow(SecretBoxError);
    expect(() => box.open(sealed, 'b')).toThrow('or the secret was changed');
    expect(() => box.open(sealed.replace('v1.', 'v2.'), 'a')).toThrow('unknown form');
    const [version, id, encoded = ''] = sealed.split('.');
    const bytes = Buffer.from(encoded, 'base64url');
    for (const at of [0, 12, bytes.length - 1]) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(() => box.open(`${version}.${id}.${changed.toString('base64url')}`, 'a')).toThrow(SecretBoxError);
    }
    expect(() => box.open(`${version}.${id}.`, 'a')).toThrow(SecretBoxError);
  });

  test('are never in an error', () => {
    const box = new SecretBox([OLD]);
    const sealed = box.seal(SECRET, 'a');
    for (const open of [() => box.open(sealed, 'b'), () => new SecretBox([NEW]).open(sealed, 'a')]) {
      expect(open).toThrow(expect.objectContaining({ message: expect.not.stringContaining(SECRET) }));
    }
  });
});
