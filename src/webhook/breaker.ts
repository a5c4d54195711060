/**
 * The circuit breaker of a subscription, pure. `closed`: everything is sent. `open`: nothing is, until the pause is over. `half_open`: one
 * probe is under way; its outcome closes or opens it again.
 */
export interface Breaker {
  readonly state: 'closed' | 'open' | 'half_open';
  /** Attempts that failed since the last success. */
  readonly failures: number;
  /** Milliseconds since the epoch: when the receiver began to fail, without a success since. */
  readonly failingSince: number | null;
  /** Milliseconds since the epoch: before this an open one sends nothing. */
  readonly probeAt: number | null;
  /** How often it was opened since the last success: each time the pause is doubled. */
  readonly openings: number;
}

export interface BreakerRules {
  /** `DECNET_WEBHOOK_CIRCUIT_THRESHOLD`: it opens at so many failures in a row. */
  readonly threshold: number;
  /** The first pause in milliseconds. */
  readonly pauseMs: number;
  readonly longestPauseMs: number;
}

export const CLOSED: Breaker = { state: 'closed', failures: 0, failingSince: null, probeAt: null, openings: 0 };

/** What may be sent now, and the breaker afterwards: `one` is the probe. */
export function admit(
  breaker: Breaker,
  now: number,
): { readonly may: 'all' | 'one' | 'none'; readonly breaker: Breaker } {
  if (breaker.state === 'closed') return { may: 'all', breaker };
  if (breaker.state === 'half_open' || now < (breaker.probeAt ?? 0)) return { may: 'none', breaker };
  return { may: 'one', breaker: { ...breaker, state: 'half_open' } };
}

/** As somebody else left it: whose probe had no end is probed again. */
export function takenOver(breaker: Breaker): Breaker {
  return breaker.state === 'half_open' ? { ...breaker, state: 'open' } : breaker;
}

/** Any success closes it. */
export function succeeded(): Breaker {
  return CLOSED;
}

/** @param now milliseconds since the epoch */
export function failed(breaker: Breaker, now: number, { threshold, pauseMs, longestPauseMs }: BreakerRules): Breaker {
  const failures = breaker.failures + 1;
  const failingSince = breaker.failingSince ?? now;
  // What was under way when it opened says nothing new.
  if (breaker.state === 'open') return { ...breaker, failures };
  if (breaker.state === 'closed' && failures < threshold) return { ...breaker, failures, failingSince };
  const openings = breaker.openings + 1;
  const pause = Math.min(pauseMs * 2 ** (openings - 1), longestPauseMs);
  return { state: 'open', failures, failingSince, probeAt: now + pause, openings };
}
