import { describe, expect, test } from 'bun:test';
import { jsonFrame } from '../../src/stream/framing.ts';
import { jsonFraming } from '../../src/stream/json-framing.ts';
import { textOf } from './support.ts';

const HOSTILE = ['\n', '\r\n', '"', '\\', '\0', '},{', '\u2028', '"\n{"event":"reset"}\n', '😀'] as const;

describe('a frame as a line of JSON', () => {
  test('is its name, its id and its data', () => {
    expect(jsonFraming.frame({ id: 'k3v9.42', event: 'status' }, '{"a":1}')).toBe(
      '{"event":"status","id":"k3v9.42","data":{"a":1}}\n',
    );
    expect(jsonFraming.frame({}, '{}')).toBe('{"data":{}}\n');
    expect(textOf([jsonFrame(jsonFraming, { event: 'reset' }, { reason: 'epoch' })])).toBe(
      '{"event":"reset","data":{"reason":"epoch"}}\n',
    );
  });

  test('around JSON that others share is the same bytes, and does not copy it', () => {
    const head = { id: 'k3v9.42', event: 'snapshot' };
    const json = new TextEncoder().encode('{"a":"ä"}');
    const pieces = jsonFraming.around(head, json);
    expect(textOf(pieces)).toBe(jsonFraming.frame(head, '{"a":"ä"}'));
    expect(pieces).toContain(json);
  });

  test.each(HOSTILE.map((text) => [text]))('is one line whatever it says: %j', (text) => {
    const line = jsonFraming.frame({ id: text, event: text }, JSON.stringify({ text }));
    expect(line.indexOf('\n')).toBe(line.length - 1);
    expect(JSON.parse(line)).toEqual({ id: text, event: text, data: { text } });
  });

  test('is one line though its data, which came from elsewhere, is several', () => {
    const line = jsonFraming.frame({ id: 'e.1' }, '{\n "a": 1,\r\n "b": "c"\n}');
    expect(line.indexOf('\n')).toBe(line.length - 1);
    expect(JSON.parse(line)).toEqual({ id: 'e.1', data: { a: 1, b: 'c' } });
  });

  test('says when to come back at the end, and nothing else that is no event', () => {
    expect(textOf([jsonFraming.farewell(2731.49)])).toBe('{"event":"end","data":{"retry_ms":2731}}\n');
    expect(textOf([jsonFraming.keepalive, jsonFraming.prelude(1)])).toBe('');
  });
});
