import { Elysia } from 'elysia';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { healthOperations } from './schemas.ts';

/** How something is: whether the process can serve with it, and what people may want to know. */
export interface Check {
  readonly ok: boolean;
  readonly [detail: string]: unknown;
}

/** By name. One that throws has failed; the reason goes to the log. */
export type Checks = Readonly<Record<string, () => Check | Promise<Check>>>;

/** Numbers and the like that are shown and make nothing fail. */
export type Counts = () => Readonly<Record<string, unknown>>;

export interface HealthParts {
  readonly checks: Checks;
  readonly counts?: Counts;
  readonly logger: Log;
}

/** A check without an answer by then counts as failed, so that the probe itself answers. */
const CHECK_MS = 2000;

/** `/healthz`: the process is alive. `/readyz`: it can do what it is there for; 503 with the failing check otherwise. */
export function healthRoutes({ checks, counts, logger }: HealthParts) {
  return new Elysia({ name: 'health-routes' })
    .get('/healthz', () => ({ status: 'ok' }), healthOperations.alive)
    .get(
      '/readyz',
      async ({ set }) => {
        const results = await Promise.all(
          Object.entries(checks).map(async ([name, run]) => [name, await check(name, logger, run)] as const),
        );
        const ready = results.every(([, { ok }]) => ok);
        set.status = ready ? 200 : 503;
        set.headers['cache-control'] = 'no-store';
        return { status: ready ? 'ready' : 'not ready', checks: Object.fromEntries(results), ...counts?.() };
      },
      healthOperations.ready,
    );
}

async function check(name: string, logger: Log, run: Checks[string]): Promise<Check> {
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
