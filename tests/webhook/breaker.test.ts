import { describe, expect, test } from 'bun:test';
import { admit, type Breaker, CLOSED, failed, succeeded } from '../../src/webhook/breaker.ts';

const RULES = { threshold: 3, pauseMs: 1000, longestPauseMs: 5000 };
const failing = (times: number, from: Breaker = CLOSED, now = 0): Breaker =>
  Array.from({ length: times }).reduce<Breaker>((breaker) => failed(breaker, now, RULES), from);

describe('a circuit breaker', () => {
  test('stays closed below the threshold and opens at it', () => {
    expect(failing(2)).toMatchObject({ state: 'closed', failures: 2, failingSince: 0 });
    expect(failing(3)).toMatchObject({ state: 'open', failures: 3, probeAt: 1000 });
  });

  test('lets nothing through before its pause is over, then one probe alone', () => {
    const open = failing(3);
    expect(admit(open, 999).may).toBe('none');
    const probing = admit(open, 1000);
    expect([probing.may, probing.breaker.state]).toEqual(['one', 'half_open']);
    expect(admit(probing.breaker, 9999).may).toBe('none');
  });

  test('closes with any success', () => {
    expect(succeeded()).toEqual(CLOSED);
    expect(admit(succeeded(), 0).may).toBe('all');
  });

  test('pauses twice as long after each failed probe, up to a limit', () => {
    let breaker = failing(3);
    for (const pause of [2000, 4000, 5000, 5000]) {
      const at = breaker.probeAt ?? 0;
      breaker = failed(admit(breaker, at).breaker, at, RULES);
      expect(breaker).toMatchObject({ state: 'open', probeAt: at + pause, failingSince: 0 });
    }
  });

  test('is not put off by what was under way when it opened', () => {
    const open = failing(3);
    expect(failed(open, 900, RULES)).toMatchObject({ state: 'open', probeAt: 1000, failures: 4 });
  });
});
