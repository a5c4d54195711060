import type { Redis } from 'ioredis';
import { type Entry, type LogEntry, parseEntry, parseLogEntry, type RawEntry } from '../../src/bus/entry.ts';
import { createEvent, type JsonObject } from '../../src/bus/event.ts';
import { EventLog, type Publication } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { startTestRedis, type TestRedis } from '../support/redis.ts';

export interface Bus {
  readonly server: TestRedis;
  readonly redis: Redis;
  readonly log: EventLog;
  stop(): Promise<void>;
}

export const DEFAULTS = { maxEvents: 100_000, idempotencyMs: 600_000 } as const;

/** A Redis of its own with a log on it. */
export async function createBus(options: { maxEvents?: number; idempotencyMs?: number } = {}): Promise<Bus> {
  const server = await startTestRedis();
  const redis = server.client();
  const log = new EventLog(redis, { ...DEFAULTS, ...options });
  return { server, redis, log, stop: () => server.stop() };
}

/** An event to publish. */
export function publication(topic = 'identity.formed', payload: JsonObject = {}, id?: string): Publication {
  return { event: createEvent(topic, '', payload, id) };
}

/** So many of them, `n` counting in the payload. */
export function publications(count: number, topic = 'identity.formed', first = 1): Publication[] {
  return Array.from({ length: count }, (_, index) => publication(topic, { n: first + index }));
}

/** What Redis keeps of a channel. */
export async function stored(redis: Redis, channel: string): Promise<Entry[]> {
  return (await rawEntries(redis, channel)).map(parseEntry);
}

/** What Redis keeps of the log. */
export async function storedLog(redis: Redis): Promise<LogEntry[]> {
  return (await rawEntries(redis, 'log')).map(parseLogEntry);
}

function rawEntries(redis: Redis, channel: string): Promise<RawEntry[]> {
  return redis.xrange(keys.stream(channel), '-', '+');
}

export const offsetsOf = (entries: readonly Entry[]): number[] => entries.map(({ offset }) => offset);
export const idsOf = (entries: readonly Entry[]): string[] => entries.map(({ id }) => id);

/** `first, first + 1, …, last`. */
export function upTo(last: number, first = 1): number[] {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
}

/** Events of a topic that happened at these times, published in this order. */
export async function happened({ log }: Bus, times: readonly number[], topic = 'identity.formed'): Promise<void> {
  if (times.length === 0) return;
  await log.publish(times.map((time) => ({ event: createEvent(topic, '', {}, undefined, time) })));
}

/** Offsets of what Redis keeps of a channel. */
export const keptOf = async ({ redis }: Bus, channel: string) => offsetsOf(await stored(redis, channel));
