import { describe, expect, test } from 'bun:test';
import { createLog, LOG_LEVELS, type LogLevel, redact } from '../../src/telemetry/log.ts';

/** A log together with the lines that it wrote. */
function recording(level: LogLevel) {
  const lines: string[] = [];
  return { log: createLog(level, (line) => lines.push(line)), lines };
}

describe('a log line', () => {
  test('is one JSON object with time, level, message and fields', () => {
    const { log, lines } = recording('info');
    log.warn('client is\nslow', { connection: 'c1', bytes: 42, live: false, group: null, user: undefined });
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toContain('\n');
    const { ts, ...rest } = JSON.parse(lines[0] ?? '');
    expect(new Date(ts).toISOString()).toBe(ts);
    expect(rest).toEqual({
      level: 'warn',
      message: 'client is\nslow',
      connection: 'c1',
      bytes: 42,
      live: false,
      group: null,
    });
  });

  test.each(LOG_LEVELS.map((level, index) => [level, LOG_LEVELS.slice(index)] as const))(
    'is written from level %s up',
    (level, expected) => {
      const { log, lines } = recording(level);
      for (const severity of LOG_LEVELS) log[severity]('said');
      expect(lines.map((line) => JSON.parse(line).level)).toEqual([...expected]);
    },
  );
});

describe('what looks like a credential', () => {
  const JWT = `eyJhbGciOiJIUzI1NiJ9.${btoa('{"uuid":"u1"}').replaceAll('=', '')}.c2lnbmF0dXJl-_x`;

  const TEXTS: readonly [what: string, text: string, redacted: string][] = [
    ['user and password in a URL', 'connect redis://decnet:hunter22@cache:6379/0', 'connect redis://***@cache:6379/0'],
    ['a password alone in a URL', 'redis://:hunter22@cache', 'redis://***@cache'],
    ['two URLs in one text', 'pg://a:hunter22@x/y redis://b:hunter22@z', 'pg://***@x/y redis://***@z'],
    ['a token in a query', 'GET /events?token=hunter22&topics=a', 'GET /events?token=***&topics=a'],
    ['a ticket behind another parameter', '/events?topics=a&ticket=hunter22 200', '/events?topics=a&ticket=*** 200'],
    ['a bearer header', 'authorization: Bearer hunter22 refused', 'authorization: Bearer *** refused'],
    ['a secret of an account', 'who is dls_1f0c-9a_hunter22-_x then', 'who is dls_*** then'],
    ['a bare JWT', `cannot verify ${JWT}: expired`, 'cannot verify ***: expired'],
  ];

  test.each(TEXTS)('is replaced: %s', (_what, text, redacted) => {
    expect(redact(text)).toBe(redacted);
  });

  test.each(TEXTS)('never reaches a line, as message or as field: %s', (_what, text) => {
    const { log, lines } = recording('debug');
    log.error(text);
    log.debug('failed', { error: text });
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      expect(line).not.toContain('hunter22');
      expect(line).not.toContain('c2lnbmF0dXJl');
    }
  });

  test.each(['http://localhost:8000/api/v1/events?topics=a', 'mail to soc@example.net', 'tokens=3', 'bearer of news'])(
    'is nothing else: %s',
    (text) => {
      expect(redact(text)).toBe(text);
    },
  );
});
