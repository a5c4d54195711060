import { describe, expect, test } from 'bun:test';
import {
  encodeFrame,
  type Frame,
  FrameReader,
  MAX_BODY_BYTES,
  ProtocolError,
  parseBody,
} from '../../src/bus-socket/frames.ts';
import { seeded } from '../support/random.ts';

/** Bytes as the contract writes them down (§2.2), by hand. */
const GOLDEN: readonly [what: string, hex: string, verb: Frame['verb'], argument: string, body: string][] = [
  ['a greeting', '48454c4c4f206d757461746f72 0a 00000000', 'HELLO', 'mutator', ''],
  ['a greeting without a name', '48454c4c4f 0a 00000000', 'HELLO', '', ''],
  ['a subscription', '53554220 612e3e 0a 00000000', 'SUB', 'a.>', ''],
  ['the end of one', '554e53554220 612e3e 0a 00000000', 'UNSUB', 'a.>', ''],
  ['a publication', '50554220 612e62 0a 0000000c 7b2274797065223a2278227d', 'PUB', 'a.b', '{"type":"x"}'],
  ['an event', '45565420 612e62 0a 00000007 7b2276223a317d', 'EVT', 'a.b', '{"v":1}'],
  ['characters of several bytes', '45565420 61 0a 0000000a 7b2261223a22c3a9227d', 'EVT', 'a', '{"a":"é"}'],
  ['a farewell', '425945 0a 00000000', 'BYE', '', ''],
];

const bytesOf = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const ascii = (text: string) => Buffer.from(text, 'latin1');
const textOf = (frame: Frame | undefined) => frame && { ...frame, body: Buffer.from(frame.body).toString() };

function framesIn(...pieces: Uint8Array[]): ReturnType<typeof textOf>[] {
  const reader = new FrameReader();
  const found = [];
  for (const piece of pieces) {
    reader.push(piece);
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) found.push(textOf(frame));
  }
  expect(reader.isInside).toBe(false);
  return found;
}

const refusalOf = (read: () => unknown): string => {
  try {
    read();
  } catch (error) {
    if (error instanceof ProtocolError) return error.message;
    throw error;
  }
  throw new Error('it was taken');
};
const next = (bytes: Uint8Array) => {
  const reader = new FrameReader();
  reader.push(bytes);
  return reader.next();
};

describe('frames', () => {
  test.each(GOLDEN)('%s has its bytes', (_, hex, verb, argument, body) => {
    expect(Buffer.from(encodeFrame(verb, argument, body)).toString('hex')).toBe(bytesOf(hex).toString('hex'));
    expect(framesIn(bytesOf(hex))).toEqual([{ verb, argument, body }]);
  });

  const all = Buffer.concat(GOLDEN.map(([, hex]) => bytesOf(hex)));
  const expected = GOLDEN.map(([, , verb, argument, body]) => ({ verb, argument, body }));

  test('are found in pieces of one byte', () => {
    expect(framesIn(...Array.from(all, (byte) => Uint8Array.of(byte)))).toEqual(expected);
  });

  test('are found however they are cut', () => {
    const many = Buffer.concat(Array.from({ length: 200 }, () => all));
    for (const seed of [1, 2, 3]) {
      const random = seeded(seed);
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < many.length; ) {
        const size = random.between(1, random.chance(0.1) ? 5000 : 20);
        pieces.push(many.subarray(at, at + size));
        at += size;
      }
      expect(framesIn(...pieces)).toEqual(Array.from({ length: 200 }, () => expected).flat());
    }
  });

  test('a body stays as it was while more comes', () => {
    const reader = new FrameReader();
    reader.push(ascii('PUB a\n\0\0\0\x03one'));
    const first = reader.next();
    for (let count = 0; count < 100; count += 1) reader.push(ascii('PUB a\n\0\0\0\x03two'));
    while (reader.next() !== undefined);
    expect(textOf(first)).toEqual({ verb: 'PUB', argument: 'a', body: 'one' });
  });

  test('the end of a line may have a carriage return', () => {
    expect(framesIn(ascii('SUB a.*\r\n\0\0\0\0'))).toEqual([{ verb: 'SUB', argument: 'a.*', body: '' }]);
  });

  test('a header has 4096 bytes and a body 1 MiB at most', () => {
    const longest = `SUB ${'x'.repeat(4092)}`;
    expect(next(ascii(`${longest}\n\0\0\0\0`))?.argument).toHaveLength(4092);
    expect(refusalOf(() => next(ascii(`${longest}x\n\0\0\0\0`)))).toContain('4096');
    // Without waiting for the end of the line, or for the body.
    expect(refusalOf(() => next(ascii(`${longest}x`)))).toContain('4096');
    expect(refusalOf(() => next(ascii('PUB a\n\x00\x10\x00\x01')))).toContain('1048577');

    const full = Buffer.concat([ascii('PUB a\n\x00\x10\x00\x00'), Buffer.alloc(MAX_BODY_BYTES, 'x')]);
    expect(next(full)?.body).toHaveLength(1_048_576);
    expect(next(full.subarray(0, -1))).toBeUndefined();
    expect(encodeFrame('EVT', 'a', 'x'.repeat(MAX_BODY_BYTES))).toEqual(
      new Uint8Array(Buffer.concat([ascii('EVT a\n\x00\x10\x00\x00'), Buffer.alloc(MAX_BODY_BYTES, 'x')])),
    );
    expect(refusalOf(() => encodeFrame('EVT', 'a', 'é'.repeat(MAX_BODY_BYTES / 2 + 1)))).toContain('1048578');
  });

  test.each([
    ['an empty header', '\n\0\0\0\0'],
    ['nothing but a carriage return', '\r\n\0\0\0\0'],
    ['an unknown verb', 'SUBSCRIBE a\n\0\0\0\0'],
    ['a verb in small letters', 'sub a\n\0\0\0\0'],
    ['a verb after a space', ' SUB a\n\0\0\0\0'],
    ['SUB without a pattern', 'SUB\n\0\0\0\0'],
    ['SUB with an empty pattern', 'SUB \n\0\0\0\0'],
    ['PUB without a topic', 'PUB\n\0\0\0\x02{}'],
    ['a header that is not ASCII', 'SUB caf\xc3\xa9\n\0\0\0\0'],
    ['HTTP', 'GET / HTTP/1.1\r\n\r\n'],
  ])('%s breaks the rules', (_, text) => {
    refusalOf(() => next(ascii(text)));
  });

  test('a topic that is not ASCII cannot be sent', () => {
    refusalOf(() => encodeFrame('EVT', 'decky.é.state', '{}'));
  });
});

describe('a body', () => {
  test('is a JSON object, or empty', () => {
    expect(parseBody(Buffer.from('{"payload":{"a":[1]}}'))).toEqual({ payload: { a: [1] } });
    expect(parseBody(new Uint8Array(0))).toEqual({});
  });

  test.each(['[]', 'null', '1', '"x"', '{', '{}{}', 'NaN', '\xff{}'])('is not %s', (text) => {
    refusalOf(() => parseBody(ascii(text)));
  });

  test('may hold what Python takes for numbers', () => {
    const text = '{"a":NaN,"b":[Infinity,-Infinity,1],"c":"NaN, \\"Infinity\\" and -Infinity","NaN":"\\\\"}';
    expect(parseBody(Buffer.from(text))).toEqual({
      a: null,
      b: [null, null, 1],
      c: 'NaN, "Infinity" and -Infinity',
      NaN: '\\',
    });
    const long = `{"a":NaN,"b":"${'x\\"'.repeat(300_000)}"}`;
    expect(parseBody(Buffer.from(long))).toEqual({ a: null, b: 'x"'.repeat(300_000) });
  });
});
