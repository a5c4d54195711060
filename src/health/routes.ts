import { Elysia } from 'elysia';
import { sql } from 'kysely';
import type { Relay } from '../bus/relay.ts';
import type { Tail } from '../bus/tail.ts';
import type { BusSocket } from '../bus-socket/server.ts';
import type { Db } from '../db/database.ts';
import { describeError } from '../errors.ts';
import type { Streams } from '../stream/streams.ts';
import type { Log } from '../telemetry/log.ts';
import { healthOperations } from './schemas.ts';

export interface HealthParts {
  readonly db: Db;
  /** Rejects when Redis does not answer. */
  readonly pingRedis: () => Promise<unknown>;
  readonly tail: Pick<Tail, 'sinceCaughtUp' | 'cursor'>;
  readonly relay: Pick<Relay, 'lag'>;
  readonly streams: Pick<Streams, 'size' | 'draining'>;
  /** Where DECNET's workers are connected; without it they have no socket here. */
  readonly busSocket?: Pick<BusSocket, 'stats'> | undefined;
  readonly logger: Log;
}

/** A tail that has not caught up for so long is behind; an idle one says so every second. */
const TAIL_BEHIND_MS = 5000;
/** Events that wait longer than this in the outbox are late. */
const RELAY_LATE_SECONDS = 10;
/** A check without an answer by then counts as failed, so that the probe itself answers. */
const CHECK_MS = 2000;

type Check = { readonly ok: boolean; readonly [detail: string]: unknown };

/** `/healthz`: the process is alive. `/readyz`: it can serve; 503 with the failing check otherwise. */
export function healthRoutes(parts: HealthParts) {
  return new Elysia({ name: 'health-routes' })
    .get('/healthz', () => ({ status: 'ok' }), healthOperations.alive)
    .get(
      '/readyz',
      async ({ set }) => {
        const [database, redis, relay] = await Promise.all([
          check('database', parts.logger, () => sql`select 1`.execute(parts.db).then(() => ({ ok: true }))),
          check('redis', parts.logger, () => parts.pingRedis().then(() => ({ ok: true }))),
          check('relay', parts.logger, () => relayCheck(parts)),
        ]);
        const checks = { database, redis, tail: tailCheck(parts), relay, draining: { ok: !parts.streams.draining } };
        const ready = Object.values(checks).every(({ ok }) => ok);
        set.status = ready ? 200 : 503;
        set.headers['cache-control'] = 'no-store';
        const counts = { streams: parts.streams.size, bus_socket: parts.busSocket?.stats };
        return { status: ready ? 'ready' : 'not ready', checks, ...counts };
      },
      healthOperations.ready,
    );
}

function tailCheck({ tail }: HealthParts): Check {
  const behindMs = tail.sinceCaughtUp();
  return {
    ok: behindMs <= TAIL_BEHIND_MS,
    epoch: tail.cursor.epoch,
    offset: tail.cursor.offset,
    seconds_since_caught_up: Number.isFinite(behindMs) ? Math.round(behindMs / 100) / 10 : null,
  };
}

async function relayCheck({ relay }: HealthParts): Promise<Check> {
  const { rows, oldestSeconds, setAside } = await relay.lag();
  return {
    ok: oldestSeconds <= RELAY_LATE_SECONDS,
    waiting: rows,
    oldest_seconds: Math.round(oldestSeconds * 10) / 10,
    // For people to look at. Another node, or a restart, would do no better: that is no reason to be not ready.
    set_aside: setAside,
  };
}

async function check(name: string, logger: Log, run: () => Promise<Check>): Promise<Check> {
  let timer: Timer | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${CHECK_MS} ms`)), CHECK_MS);
  });
  try {
    return await Promise.race([run(), timeout]);
  } catch (error) {
    // What exactly failed is for the log: the probe may be public.
    logger.warn('a readiness check failed', { check: name, error: describeError(error) });
    return { ok: false };
  } finally {
    clearTimeout(timer);
  }
}
