import { describe, expect, test } from 'bun:test';
import { loadConfig } from '../../src/config.ts';
import { outcomeOf, readRetryAfter, retryDelayMs } from '../../src/webhook/retry.ts';

const RETRY_SCHEDULE = loadConfig({ DECNET_JWT_SECRET: 'f3a9c1d27b804e56a1d4c8b29e7f6035' }).webhook.retrySeconds;

const NOW = Date.parse('2026-11-21T12:00:00Z');
const answer = (status: number, retryAfter?: string) => ({ status, excerpt: '', retryAfter });

describe('what an answer means', () => {
  test.each([200, 201, 202, 204, 299])('%i is a success', (status) => {
    expect(outcomeOf(answer(status), NOW)).toEqual({ kind: 'delivered' });
  });

  test.each([408, 429, 500, 502, 503, 504, 599])('%i is tried again', (status) => {
    expect(outcomeOf(answer(status), NOW)).toEqual({ kind: 'retry', error: `http ${status}`, retryAfterMs: undefined });
  });

  test.each([301, 302, 307, 308, 400, 401, 403, 404, 409, 422, 451])('%i is not', (status) => {
    expect(outcomeOf(answer(status), NOW)).toEqual({ kind: 'dead', error: `non-retryable ${status}` });
  });

  test('410 ends the subscription', () => {
    expect(outcomeOf(answer(410), NOW)).toEqual({ kind: 'gone', error: 'non-retryable 410' });
  });

  test('Retry-After is heard as seconds or as a date, for a day at most', () => {
    expect(outcomeOf(answer(429, '7'), NOW)).toMatchObject({ retryAfterMs: 7000 });
    expect(readRetryAfter('Sat, 21 Nov 2026 12:00:30 GMT', NOW)).toBe(30_000);
    expect(readRetryAfter('Sat, 21 Nov 2026 11:00:00 GMT', NOW)).toBe(0);
    expect(readRetryAfter('99999999', NOW)).toBe(86_400_000);
    for (const nonsense of ['soon', '-1', '', '1e3', '0x10']) {
      expect([undefined, 0]).toContain(readRetryAfter(nonsense, NOW));
    }
  });
});

describe('when the next attempt is due', () => {
  test("DECNET's schedule first, within a fifth, then a long tail", () => {
    expect(RETRY_SCHEDULE.slice(0, 3)).toEqual([1, 2, 4]);
    expect(RETRY_SCHEDULE.reduce((sum, seconds) => sum + seconds)).toBeGreaterThan(86_400);
    for (const [index, seconds] of RETRY_SCHEDULE.entries()) {
      expect(retryDelayMs(index + 1, RETRY_SCHEDULE, undefined, 0)).toBeCloseTo(seconds * 800);
      expect(retryDelayMs(index + 1, RETRY_SCHEDULE, undefined, 1)).toBeCloseTo(seconds * 1200);
    }
  });

  test('never before the receiver asked for, and never after the end', () => {
    expect(retryDelayMs(1, [1], 60_000, 0.5)).toBe(60_000);
    expect(retryDelayMs(1, [100], 60_000, 0.5)).toBe(100_000);
    expect(retryDelayMs(2, [1], 60_000, 0.5)).toBeUndefined();
  });
});
