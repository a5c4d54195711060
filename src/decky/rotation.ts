/** What a rotation decides, without database or clock. */

const MAX_SERVICES = 3;
const MAX_ATTEMPTS = 20;

/**
 * Picks one to three services (contract §5.8), another set than the present one unless 20 attempts find none.
 * @param pool what may be picked; must not be empty
 * @param random from 0 to below 1
 * @returns sorted, none twice
 */
export function pickServices(pool: readonly string[], current: readonly string[], random: () => number): string[] {
  const before = [...new Set(current)].sort().join();
  let picked = pickOnce(pool, random);
  for (let attempt = 1; attempt < MAX_ATTEMPTS && picked.join() === before; attempt += 1) {
    picked = pickOnce(pool, random);
  }
  return picked;
}

function pickOnce(pool: readonly string[], random: () => number): string[] {
  const left = [...new Set(pool)];
  const count = 1 + below(Math.min(MAX_SERVICES, left.length), random);
  const picked: string[] = [];
  while (picked.length < count) picked.push(...left.splice(below(left.length, random), 1));
  return picked.sort();
}

const below = (limit: number, random: () => number) => Math.floor(random() * limit);

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Milliseconds of each unit; a month is 30 days, a year 365. */
const UNITS: Readonly<Record<string, number>> = {
  m: 60_000,
  h: HOUR_MS,
  d: DAY_MS,
  w: 7 * DAY_MS,
  M: 30 * DAY_MS,
  y: 365 * DAY_MS,
  Y: 365 * DAY_MS,
};
const MAX_INTERVAL_MS = 100 * 365 * DAY_MS;

/**
 * How long an interval such as `30m`, `12h`, `5d`, `2w`, `1M` or `1y` is.
 * @returns milliseconds; `undefined` for what is no interval, or one of more than a hundred years
 */
export function intervalMs(text: string): number | undefined {
  const [, count, unit = ''] = /^([1-9]\d{0,9})([a-zA-Z])$/.exec(text) ?? [];
  const length = Number(count) * (UNITS[unit] ?? Number.NaN);
  return length <= MAX_INTERVAL_MS ? length : undefined;
}

/**
 * How long a decky stays as it is.
 * @param own its own interval, as the database holds it
 * @param fleetMs the interval of deckies that have none; `null` when they are left alone
 * @returns milliseconds; `null` for ever
 */
export function intervalOf(own: string | null, fleetMs: number | null): number | null {
  return own === null ? fleetMs : (intervalMs(own) ?? null);
}
