import type { Redis } from 'ioredis';
import { keys, OFFSET_FIELD } from '../../bus/keys.ts';

/** Between two portions, so that most of the time of Redis stays that of the plane. */
const PAUSE_MS = 3;
const SCAN_COUNT = 200;

/** Every channel that the log counts, a few at a time; one that comes or goes meanwhile may be missing. */
export async function* channelsOf(redis: Redis): AsyncGenerator<string, void, undefined> {
  const seen = new Set<string>();
  let cursor = '0';
  do {
    const [next, fields] = await redis.hscan(keys.meta, cursor, 'MATCH', `${OFFSET_FIELD}*`, 'COUNT', SCAN_COUNT);
    cursor = next;
    for (let index = 0; index < fields.length; index += 2) {
      const channel = (fields[index] ?? '').slice(OFFSET_FIELD.length);
      if (seen.has(channel)) continue;
      seen.add(channel);
      yield channel;
    }
    await pause();
  } while (cursor !== '0');
}

/** Every key of a form, a few at a time. */
export async function* keysLike(redis: Redis, pattern: string): AsyncGenerator<string, void, undefined> {
  const seen = new Set<string>();
  let cursor = '0';
  do {
    const [next, found] = await redis.scan(cursor, 'MATCH', pattern, 'COUNT', SCAN_COUNT);
    cursor = next;
    for (const key of found) {
      if (seen.has(key)) continue;
      seen.add(key);
      yield key;
    }
    await pause();
  } while (cursor !== '0');
}

export function pause(): Promise<void> {
  return Bun.sleep(PAUSE_MS);
}
