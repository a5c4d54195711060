import { describe, expect, test } from 'bun:test';
import { type FrameHead, jsonFrame } from '../../src/stream/framing.ts';
import { sseFraming } from '../../src/stream/sse-framing.ts';
import { type Random, seeded } from '../support/random.ts';
import { parseStream, textOf } from './support.ts';

/** What an attacker would try, and what breaks careless encoders. */
const HOSTILE = [
  '\n',
  '\r',
  '\r\n',
  '\n\n',
  '\r\r',
  '\0',
  '\n\nevent: reset\ndata: {}\n\n',
  '\nid: k3v9.999\n',
  '\rdata: injected\r\r',
  'retry: 1\n',
  ': comment\n',
  ':',
  ' ',
  '\ufeff',
  '\u2028',
  '\u0085',
  '\u000b\u000c',
  '😀',
  '\ud800',
  'a',
  'data: x',
] as const;

function hostileText(random: Random): string {
  return Array.from({ length: random.between(0, 6) }, () => random.pick(HOSTILE)).join('');
}

interface Frame extends FrameHead {
  readonly data: string;
}

const encodeFrame = ({ data, ...head }: Frame) => sseFraming.frame(head, data);
const parse = (text: string) => parseStream(textOf([new TextEncoder().encode(text)]));
const allowed = (...names: string[]) => new Set(names);

describe('a frame', () => {
  test('is its fields and an empty line', () => {
    expect(encodeFrame({ id: 'k3v9.42', event: 'mutation.applied', data: '{"a":1}' })).toBe(
      'id: k3v9.42\nevent: mutation.applied\ndata: {"a":1}\n\n',
    );
    expect(encodeFrame({ data: 'x' })).toBe('data: x\n\n');
    expect(textOf([jsonFrame(sseFraming, { event: 'reset' }, { reason: 'epoch' })])).toBe(
      'event: reset\ndata: {"reason":"epoch"}\n\n',
    );
  });

  test('around JSON that others share is the same bytes, and does not copy it', () => {
    const head = { id: 'k3v9.42', event: 'snapshot' };
    const json = new TextEncoder().encode('{"a":"ä"}');
    const pieces = sseFraming.around(head, json);
    expect(textOf(pieces)).toBe(sseFraming.frame(head, '{"a":"ä"}'));
    expect(pieces).toContain(json);
  });

  test.each(HOSTILE.map((text) => [text]))('cannot be broken by %j in its data', (text) => {
    const { frames, fields, rest } = parse(encodeFrame({ id: 'e.1', event: 'status', data: `a${text}b` }));
    expect(frames).toEqual([
      { id: 'e.1', event: 'status', data: `a${text}b`.replaceAll(/\r\n|\r/g, '\n').toWellFormed() },
    ]);
    expect(new Set(fields)).toEqual(allowed('id', 'event', 'data'));
    expect(rest).toBe('');
  });

  test.each(HOSTILE.map((text) => [text]))('cannot be broken by %j in its id or its name', (text) => {
    const { frames, fields } = parse(encodeFrame({ id: `a${text}b`, event: `c${text}d`, data: '{}' }));
    expect(frames).toHaveLength(1);
    expect(frames[0]?.data).toBe('{}');
    expect(fields).toEqual(['id', 'event', 'data']);
    // A client that ignored the id would resume from the wrong place without anybody noticing.
    expect(frames[0]?.id).toBeDefined();
  });

  test('any hostile frames one behind the other are read back as exactly those frames', () => {
    for (let seed = 1; seed <= 1000; seed += 1) {
      const random = seeded(seed);
      const frames = Array.from({ length: random.between(1, 4) }, (): Frame => {
        const frame = { data: hostileText(random) };
        const id = random.chance(0.7) ? { id: `i${hostileText(random)}` } : {};
        return { ...frame, ...id, ...(random.chance(0.7) ? { event: `e${hostileText(random)}` } : {}) };
      });
      const read = parse(frames.map(encodeFrame).join(''));
      const oneLine = (text: string | undefined) => text?.replaceAll(/[\r\n\0]/g, '\ufffd').toWellFormed();
      expect({ seed, frames: read.frames }).toEqual({
        seed,
        frames: frames.map(({ id, event, data }) => ({
          id: oneLine(id),
          event: oneLine(event),
          data: data.replaceAll(/\r\n|\r/g, '\n').toWellFormed(),
        })),
      });
      expect(read.fields.every((name) => ['id', 'event', 'data'].includes(name))).toBe(true);
    }
  });

  test('control: without the protection the same parser finds the injected frame', () => {
    const careless = `id: 1\nevent: status\ndata: ${'x\n\nevent: reset\ndata: {}'}\n\n`;
    expect(parse(careless).frames).toHaveLength(2);
  });
});

describe('what is no event', () => {
  test('a keepalive is a comment', () => {
    expect(textOf([sseFraming.keepalive])).toBe(': keepalive\n\n');
  });

  test('a retry is a whole number of milliseconds, and dispatches nothing', () => {
    expect(textOf([sseFraming.farewell(2731.49)])).toBe('retry: 2731\n\n');
    expect(textOf([sseFraming.prelude(50)])).toBe('retry: 50\n\n: keepalive\n\n');
    for (const { data } of parse(textOf([sseFraming.prelude(50)])).frames) expect(data).toBeUndefined();
  });
});
