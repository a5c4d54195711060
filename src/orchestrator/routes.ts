import { Elysia, t } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { Db } from '../db/database.ts';
import { AppError } from '../errors.ts';
import { envelopeOf, pageFields } from '../http/paging.ts';
import { countFailures, listActions } from './repository.ts';
import { orchestratorOperations } from './schemas.ts';

export interface OrchestratorRouteParts {
  readonly db: Db;
  readonly authenticator: HeaderAuthenticator;
}

// Elysia's own union of texts would make the first of them the default.
const kind = t.Optional(t.Union([t.Literal('traffic'), t.Literal('file'), t.Literal('email')]));
const list = t.Object({ ...pageFields, kind });
const failures = t.Object({ since: t.Optional(t.String()), success: t.Optional(t.String()), kind });

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const MAX_SINCE_MS = 7 * 86_400_000;
/** As Pydantic reads a boolean. */
const FALSE = new Set(['false', '0', 'no', 'off', 'n', 'f']);

/** What the orchestrator did (contract §6.5, P7). */
export function orchestratorRoutes({ db, authenticator }: OrchestratorRouteParts) {
  return new Elysia({ name: 'orchestrator-routes' })
    .use(guard(authenticator, 'viewer'))
    .get('/orchestrator/events', async ({ query }) => envelopeOf(await listActions(db, query.kind, query), query), {
      query: list,
      ...orchestratorOperations.list,
    })
    .get(
      '/orchestrator/events/stats',
      async ({ query: { since = '1h', success, kind } }) => {
        if (success === undefined || !FALSE.has(success.toLowerCase())) {
          throw new AppError('invalid', 'Only failures are counted: ask with success=false');
        }
        const from = new Date(Date.now() - durationOf(since)).toISOString();
        return { since, success: false, kind: kind ?? null, count: await countFailures(db, kind, from) };
      },
      { query: failures, ...orchestratorOperations.stats },
    );
}

/** @returns milliseconds */
function durationOf(since: string): number {
  const [, digits = '', unit = ''] = /^(\d{1,9})([smhd])$/.exec(since) ?? [];
  const duration = Number(digits) * (UNIT_MS[unit] ?? 0);
  if (duration > 0 && duration <= MAX_SINCE_MS) return duration;
  throw new AppError('invalid', 'since must be a number with s, m, h or d, more than 0 and at most 7d: for example 1h');
}
