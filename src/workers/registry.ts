import { isJsonObject, type Json, type JsonObject } from '../bus/event.ts';
import type { Db } from '../db/database.ts';
import { KNOWN_WORKERS } from '../worker/heartbeat-projection.ts';

export type WorkerName = (typeof KNOWN_WORKERS)[number];

/** A row of `GET /workers` (contract P4.1). */
export interface WorkerRow {
  readonly name: WorkerName;
  readonly status: 'ok' | 'stale' | 'unknown';
  /** Seconds since the epoch. */
  readonly last_heartbeat_ts: number | null;
  readonly seconds_since: number | null;
  /** What it told beside its name and the time. */
  readonly extra: JsonObject;
  /** Whether this process can start it. */
  readonly installed: boolean;
}

/** Seconds without a heartbeat after which a worker counts as stale (contract §8): three of its own. */
const STALE_AFTER_S = 90;

/** @returns `undefined` for a worker that nobody knows */
export const workerNamed = (name: string): WorkerName | undefined => KNOWN_WORKERS.find((known) => known === name);

/**
 * Every known worker as it was last heard of.
 * @param isInstalled whether this process can start it
 * @param now milliseconds since the epoch
 * @param seen those that live at this moment, without having said so: none of them is older than now
 */
export async function listWorkers(
  db: Db,
  isInstalled: (name: WorkerName) => boolean,
  now: number,
  seen: readonly WorkerName[] = [],
): Promise<WorkerRow[]> {
  const rows = await db.selectFrom('worker_heartbeats').selectAll().execute();
  const heard = new Map(rows.map((row) => [row.name, row]));
  for (const name of seen) heard.set(name, { name, extra: heard.get(name)?.extra ?? '{}', ts: now / 1000 });
  return KNOWN_WORKERS.map((name) => {
    const row = heard.get(name);
    const installed = isInstalled(name);
    if (row === undefined) {
      return { name, status: 'unknown', last_heartbeat_ts: null, seconds_since: null, extra: {}, installed };
    }
    const since = Math.max(0, now / 1000 - row.ts);
    const extra: Json = JSON.parse(row.extra);
    return {
      name,
      status: since < STALE_AFTER_S ? 'ok' : 'stale',
      last_heartbeat_ts: row.ts,
      seconds_since: since,
      extra: isJsonObject(extra) ? extra : {},
      installed,
    };
  });
}
