import { Elysia, t } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { Db, Engine } from '../db/database.ts';
import { logQueryOf } from './query.ts';
import { histogram, listLogs } from './repository.ts';
import { readStats } from './stats.ts';

export interface LogRouteParts {
  readonly db: Db;
  readonly engine: Engine;
  readonly authenticator: HeaderAuthenticator;
}

const filter = {
  search: t.Optional(t.String({ maxLength: 512 })),
  start_time: t.Optional(t.String({ maxLength: 64 })),
  end_time: t.Optional(t.String({ maxLength: 64 })),
};

const page = t.Object({
  ...filter,
  limit: t.Integer({ minimum: 1, maximum: 1000, default: 50 }),
  offset: t.Integer({ minimum: 0, maximum: 2 ** 31 - 1, default: 0 }),
});

const buckets = t.Object({
  ...filter,
  interval_minutes: t.Integer({ minimum: 1, maximum: 2 ** 31 - 1, default: 15 }),
});

/** What the landing page and the live logs read (contract P1.2). */
export function logRoutes({ db, engine, authenticator }: LogRouteParts) {
  return new Elysia({ name: 'log-routes' })
    .use(guard(authenticator, 'viewer'))
    .get('/stats', () => readStats(db))
    .get(
      '/logs',
      async ({ query: { limit, offset, ...asked } }) => {
        const { total, rows } = await listLogs(db, engine, logQueryOf(asked), { limit, offset });
        return { total, limit, offset, data: rows };
      },
      { query: page },
    )
    .get(
      '/logs/histogram',
      ({ query: { interval_minutes, ...asked } }) => histogram(db, engine, logQueryOf(asked), interval_minutes),
      { query: buckets },
    );
}
