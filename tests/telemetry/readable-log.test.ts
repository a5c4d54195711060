import { describe, expect, test } from 'bun:test';
import { readableLine } from '../../scripts/readable-log.ts';
import { createLog, type LogFields } from '../../src/telemetry/log.ts';

/** What the terminal of `bun run dev` shows for one log call. */
function shown(message: string, fields?: LogFields): string {
  const lines: string[] = [];
  createLog('debug', (line) => lines.push(readableLine(line, false))).warn(message, fields);
  return lines.join('\n');
}

describe('a log line for people', () => {
  test('has local time, level and message', () => {
    expect(shown('client is slow')).toMatch(/^\d\d:\d\d:\d\d warn {2}client is slow$/);
  });

  test('shows its fields, and where a text with spaces ends', () => {
    expect(
      shown('stream closed', { connection: 'c1', bytes: 42, reason: 'took nothing', empty: '', user: null }),
    ).toEndWith('stream closed  connection=c1 bytes=42 reason="took nothing" empty="" user=null');
  });

  test('keeps the redaction', () => {
    expect(shown('cannot connect', { error: 'redis://:hunter22@cache refused' })).not.toContain('hunter22');
  });

  test('is coloured for a terminal only', () => {
    const line = '{"ts":"2026-03-01T10:00:00.000Z","level":"error","message":"no","code":1}';
    expect(Bun.stripANSI(readableLine(line, true))).toBe(readableLine(line, false));
    expect(readableLine(line, true)).not.toBe(readableLine(line, false));
  });

  test.each([
    'plain text',
    '{"half":',
    '[1]',
    'null',
    '{"message":"no time or level"}',
    '{"ts":"yesterday","level":"info","message":"a"}',
    '{"ts":"2026-03-01T10:00:00Z","level":"loud","message":"a"}',
  ])('what is none of ours stays as it is: %s', (line) => {
    expect(readableLine(line, false)).toBe(line);
  });
});
