import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { appendToOutbox } from '../../src/bus/outbox.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { Relay } from '../../src/bus/relay.ts';
import { setAside } from '../../src/bus/set-aside.ts';
import { databaseCheck, relayCheck, tailCheck } from '../../src/health/checks.ts';
import { healthRoutes } from '../../src/health/routes.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { startTestRedis, type TestRedis, whenReady } from '../support/redis.ts';

const CURSOR = { epoch: 'k3v9', offset: 41, proof: '0a1b2c3d', revision: 0 };
const TIMEOUT_MS = 20_000;

for (const engine of ENGINES) {
  describe(`health on ${engine}`, () => {
    let database: TestDatabase;
    let server: TestRedis;
    let redis: RedisConnections;
    let lines: string[];
    beforeAll(async () => {
      [database, server] = await Promise.all([createTestDatabase(engine), startTestRedis()]);
    });
    beforeEach(async () => {
      lines = [];
      redis = connectRedis(server.url, quiet);
      await whenReady(redis);
      await database.db.deleteFrom('outbox').execute();
    });
    afterEach(() => redis.close());
    afterAll(() => Promise.all([database.dispose(), server.stop()]));

    interface Ailments {
      readonly behindMs?: number;
      readonly draining?: boolean;
      readonly db?: TestDatabase['db'];
      readonly pingRedis?: () => Promise<unknown>;
    }

    /** Database, Redis and relay are real; the tail and the streams say what they are told to say. */
    function probe(path: string, ailments: Ailments = {}): Promise<Response> {
      const { behindMs = 20, draining = false, db = database.db } = ailments;
      const log = new EventLog(redis.commands, { maxEvents: 1000, idempotencyMs: 1000 });
      const relay = new Relay(db, log, 'n1', quiet);
      const pingRedis = ailments.pingRedis ?? (() => redis.commands.ping());
      const app = healthRoutes({
        checks: {
          database: () => databaseCheck(db),
          redis: () => pingRedis().then(() => ({ ok: true })),
          tail: () => tailCheck({ sinceCaughtUp: () => behindMs, cursor: CURSOR }),
          relay: () => relayCheck(relay),
          draining: () => ({ ok: !draining }),
        },
        counts: () => ({ streams: 7 }),
        logger: createLog('debug', (line) => lines.push(line)),
      });
      return app.handle(new Request(`http://localhost${path}`));
    }

    async function readiness(ailments: Ailments = {}) {
      const response = await probe('/readyz', ailments);
      expect(response.headers.get('cache-control')).toBe('no-store');
      const body: {
        status: string;
        streams: number;
        checks: Record<string, { ok: boolean; [detail: string]: unknown }>;
      } = JSON.parse(await response.text());
      const failing = Object.entries(body.checks).flatMap(([name, { ok }]) => (ok ? [] : [name]));
      return { status: response.status, body, failing };
    }

    /** An event that has waited so many seconds. */
    const waiting = (seconds: number) =>
      database.db.transaction().execute((trx) => {
        const at = Date.now() - seconds * 1000;
        return appendToOutbox(trx, [createEvent('identity.formed', '', {}, undefined, at)]);
      });

    test('is ready when all is well, and tells where it stands', async () => {
      const { status, body } = await readiness();
      expect(status).toBe(200);
      expect(body).toEqual({
        status: 'ready',
        streams: 7,
        checks: {
          database: { ok: true },
          redis: { ok: true },
          tail: { ok: true, epoch: CURSOR.epoch, offset: CURSOR.offset, seconds_since_caught_up: 0 },
          relay: { ok: true, waiting: 0, oldest_seconds: 0, set_aside: 0 },
          draining: { ok: true },
        },
      });
      expect(lines).toEqual([]);
    });

    test.each([
      [5000, []],
      [5001, ['tail']],
      [Number.POSITIVE_INFINITY, ['tail']],
    ])('with a tail that caught up %p ms ago fails %p', async (behindMs, failing) => {
      expect(await readiness({ behindMs })).toMatchObject({ status: failing.length === 0 ? 200 : 503, failing });
    });

    test('is ready while an event waits for a moment, and not when one has waited for long', async () => {
      await waiting(1);
      expect(await readiness()).toMatchObject({ status: 200, failing: [] });
      await waiting(60);
      const { status, failing, body } = await readiness();
      expect({ status, failing }).toEqual({ status: 503, failing: ['relay'] });
      expect(body.checks.relay).toMatchObject({ waiting: 2 });
      expect(body.status).toBe('not ready');
    });

    test('tells of events that were set aside, and is ready all the same: nothing waits for them', async () => {
      await waiting(1);
      const { seq } = await database.db.selectFrom('outbox').select('seq').executeTakeFirstOrThrow();
      await setAside(database.db, { seq }, { tries: 5, error: 'refused', isSubstituted: false }, 0);
      const { status, body } = await readiness();
      expect(status).toBe(200);
      expect(body.checks.relay).toMatchObject({ ok: true, waiting: 0, set_aside: 1 });
      await database.db.deleteFrom('outbox_set_aside').execute();
    });

    test('is not ready while it drains: new clients go elsewhere', async () => {
      expect(await readiness({ draining: true })).toMatchObject({ status: 503, failing: ['draining'] });
    });

    test('is alive whatever is wrong around it: a restart would help nobody', async () => {
      const pingRedis = () => Promise.reject(new Error('down'));
      const response = await probe('/healthz', { pingRedis, draining: true, behindMs: Number.POSITIVE_INFINITY });
      expect(response.status).toBe(200);
      expect(await response.json()).toEqual({ status: 'ok' });
    });

    test(
      'names Redis when that is down, tells the log why and the caller not, and is ready again when it is back',
      async () => {
        await server.down();
        const { status, failing, body } = await readiness();
        expect({ status, failing }).toEqual({ status: 503, failing: ['redis'] });
        expect(body.checks.redis).toEqual({ ok: false });
        expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level: 'warn', check: 'redis' });
        await server.up();
        await whenReady(redis);
        expect((await readiness()).status).toBe(200);
      },
      TIMEOUT_MS,
    );

    test('names the database and what depends on it when that is gone, without its address', async () => {
      const gone = await createTestDatabase(engine);
      await gone.dispose();
      const { status, failing, body } = await readiness({ db: gone.db });
      expect({ status, failing }).toEqual({ status: 503, failing: ['database', 'relay'] });
      expect(body.checks.database).toEqual({ ok: false });
    });

    test('answers by itself when a service does not answer at all', async () => {
      const silent = () => new Promise<never>(() => {});
      const { status, failing } = await readiness({ pingRedis: silent });
      expect({ status, failing }).toEqual({ status: 503, failing: ['redis'] });
      expect(lines.join()).toContain('no answer within');
    });
  });
}
