const FIRST_MS = 1000;
const LONGEST_MS = 30_000;
const CALM_FIRST_MS = 5000;
const CALM_LONGEST_MS = 20_000;

/**
 * How long to wait before trying again: doubling from one second to thirty, of which up to a half is left to chance, so
 * that many pages do not come back at the same moment.
 * @param failures attempts that have failed since the last success, at least 1
 * @param random a number from 0 up to 1
 * @returns milliseconds
 */
export function backoffMs(failures: number, random: number = Math.random()): number {
  const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1));
  return Math.round(longest * (1 - random / 2));
}

/**
 * The same for who waits for somebody else to leave: nothing is broken, so never sooner than after five seconds, and
 * never later than after thirty.
 */
export function calmBackoffMs(refusals: number, random: number = Math.random()): number {
  const shortest = Math.min(CALM_LONGEST_MS, CALM_FIRST_MS * 2 ** (refusals - 1));
  return Math.round(shortest * (1 + random / 2));
}
