import type { Answer } from './post.ts';

/** What an attempt means for its delivery. */
export type Outcome =
  | { readonly kind: 'delivered' }
  /** Worth another attempt. */
  | { readonly kind: 'retry'; readonly error: string; readonly retryAfterMs: number | undefined }
  /** Will never be taken. */
  | { readonly kind: 'dead'; readonly error: string }
  /** The receiver says that it is gone for good (410, as Standard Webhooks asks): nothing more is sent to it. */
  | { readonly kind: 'gone'; readonly error: string };

/** No receiver may put a delivery off for longer. */
const MOST_RETRY_AFTER_MS = 86_400_000;
const JITTER = 0.2;
const TIMEOUT = 408;
const GONE = 410;
const TOO_MANY = 429;

/** Judges an answer; DECNET's words where it has some (contract §7.3). */
export function outcomeOf({ status, retryAfter }: Answer, now: number): Outcome {
  if (status >= 200 && status < 300) return { kind: 'delivered' };
  if (status === GONE) return { kind: 'gone', error: `non-retryable ${status}` };
  if (status === TIMEOUT || status === TOO_MANY || status >= 500) {
    return { kind: 'retry', error: `http ${status}`, retryAfterMs: readRetryAfter(retryAfter, now) };
  }
  return { kind: 'dead', error: `non-retryable ${status}` };
}

/**
 * When the next attempt is due.
 * @param attempts how many there were, one at least
 * @param schedule seconds before the second attempt, the third …
 * @param random from 0 to 1, so that deliveries that failed together do not come back together
 * @returns milliseconds from now, or `undefined` when the schedule is over
 */
export function retryDelayMs(
  attempts: number,
  schedule: readonly number[],
  retryAfterMs: number | undefined,
  random: number,
): number | undefined {
  const seconds = schedule[attempts - 1];
  if (seconds === undefined) return undefined;
  const jittered = seconds * 1000 * (1 - JITTER + 2 * JITTER * random);
  return Math.max(jittered, retryAfterMs ?? 0);
}

/**
 * `Retry-After` (RFC 9110 §10.2.3): seconds, or a date. What is neither is not heard.
 * @param now milliseconds since the epoch
 * @returns milliseconds, a day at most
 */
export function readRetryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  if (Number.isNaN(ms)) return undefined;
  return Math.min(Math.max(ms, 0), MOST_RETRY_AFTER_MS);
}
