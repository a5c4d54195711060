import { sql } from 'kysely';
import type { Db } from '../db/database.ts';
import type { Check } from './routes.ts';

/** How far a process has read the log. */
export interface Reading {
  /** Milliseconds; `Infinity` before the first time. */
  sinceCaughtUp(): number;
  readonly cursor: { readonly epoch: string; readonly offset: number };
}

/** What waits to be published. */
export interface Backlog {
  lag(): Promise<{ readonly rows: number; readonly oldestSeconds: number; readonly setAside: number }>;
}

/** A tail that has not caught up for so long is behind; an idle one says so every second. */
const TAIL_BEHIND_MS = 5000;
/** Events that wait longer than this in the outbox are late. */
const RELAY_LATE_SECONDS = 10;

/** @throws when the database does not answer */
export async function databaseCheck(db: Db): Promise<Check> {
  await sql`select 1`.execute(db);
  return { ok: true };
}

export function tailCheck(tail: Reading): Check {
  const behindMs = tail.sinceCaughtUp();
  return {
    ok: behindMs <= TAIL_BEHIND_MS,
    epoch: tail.cursor.epoch,
    offset: tail.cursor.offset,
    seconds_since_caught_up: Number.isFinite(behindMs) ? Math.round(behindMs / 100) / 10 : null,
  };
}

/** @throws when the database does not answer */
export async function relayCheck(relay: Backlog): Promise<Check> {
  const { rows, oldestSeconds, setAside } = await relay.lag();
  return {
    ok: oldestSeconds <= RELAY_LATE_SECONDS,
    waiting: rows,
    oldest_seconds: Math.round(oldestSeconds * 10) / 10,
    // For people to look at. Another node, or a restart, would do no better: that is no reason to be not ready.
    set_aside: setAside,
  };
}
