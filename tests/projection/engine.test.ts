import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { sql } from 'kysely';
import { createEvent } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { LogHistory } from '../../src/bus/log-history.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import type { ProjectionRow } from '../../src/db/schema.ts';
import { moveOn, rememberEvents } from '../../src/projection/places.ts';
import type { Projection } from '../../src/projection/projection.ts';
import { lagOf } from '../../src/projection/projections.ts';
import { rebuild } from '../../src/projection/rebuild.ts';
import { Runner, type RunnerParts } from '../../src/projection/runner.ts';
import { projectedSnapshot } from '../../src/projection/snapshot.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { startTestRedis, type TestRedis, whenReady } from '../support/redis.ts';

/** Counts events: whoever counts one twice, or leaves one out, is found out. */
const tally: Projection = {
  name: 'tally',
  version: 1,
  topics: ['campaign.>'],
  channels: ['campaign'],
  async apply(trx, events) {
    if (events.some(({ payload }) => payload.bad === true)) throw new Error('nobody can apply this');
    await trx
      .insertInto('counters')
      .values({ name: 'tally', value: events.length })
      .onConflict((conflict) =>
        conflict.column('name').doUpdateSet({ value: sql<number>`counters.value + excluded.value` }),
      )
      .execute();
    return events.filter(({ payload }) => payload.empty === true).length;
  },
  async clear(trx) {
    await trx.deleteFrom('counters').where('name', '=', 'tally').execute();
    return false;
  },
};

/** A runner without what keeps it from counting twice. */
const unprotected: RunnerParts['protections'] = {
  moveOn: async (trx, { name }, _from, to) => {
    const place = { epoch: to.epoch, log_offset: to.offset, proof: to.proof };
    await trx.updateTable('projections').set(place).where('name', '=', name).execute();
  },
  rememberEvents: async (_trx, _engine, events) => new Set(events.map(({ event_id }) => event_id)),
};

for (const engine of ENGINES) {
  describe(`a projection (${engine})`, () => {
    let server: TestRedis;
    let redis: RedisConnections;
    let database: TestDatabase;
    let eventLog: EventLog;
    let history: LogHistory;
    beforeEach(async () => {
      [server, database] = await Promise.all([startTestRedis(), createTestDatabase(engine)]);
      await connect();
    });
    afterEach(async () => {
      redis.close();
      await server.stop();
      await database.dispose();
    });

    async function connect(): Promise<void> {
      redis = connectRedis(server.url, quiet);
      await whenReady(redis);
      eventLog = new EventLog(redis.commands, { maxEvents: 10_000, idempotencyMs: 60_000 });
      history = new LogHistory(redis.commands);
    }

    const runner = (parts: Partial<RunnerParts> = {}, projection = tally) =>
      new Runner(projection, { db: database.db, engine, history, logger: quiet, memory: 1000, ...parts });
    const drive = async (driven: Runner) => {
      while (await driven.step());
    };
    const publish = async (first: number, count: number, payload = {}) => {
      const events = Array.from({ length: count }, (_, index) =>
        createEvent('campaign.formed', '', { n: first + index, ...payload }, `event-${first + index}`),
      );
      await eventLog.publish(events.map((event) => ({ event })));
    };
    const counted = async () => {
      const row = await database.db
        .selectFrom('counters')
        .select('value')
        .where('name', '=', 'tally')
        .executeTakeFirst();
      return row?.value ?? 0;
    };
    const state = (): Promise<ProjectionRow> =>
      database.db.selectFrom('projections').selectAll().where('name', '=', 'tally').executeTakeFirstOrThrow();

    /** One that has read and then sleeps, while another one goes on and leads. */
    async function sleptLeader(protections: NonNullable<RunnerParts['protections']>): Promise<void> {
      await publish(1, 8);
      const mayGoOn = Promise.withResolvers<void>();
      const hasRead = Promise.withResolvers<void>();
      const slow: RunnerParts['history'] = {
        range: () => history.range(),
        async read(place) {
          const part = await history.read(place);
          hasRead.resolve();
          await mayGoOn.promise;
          return part;
        },
      };
      const slept = runner({ history: slow, protections });
      const step = slept.step();
      await hasRead.promise;
      await drive(runner({ protections }));
      mayGoOn.resolve();
      await step;
      await drive(slept);
    }

    test('of two leaders one counts', async () => {
      await sleptLeader({ moveOn, rememberEvents });
      expect(await counted()).toBe(8);
      // Each of the two protections is enough for that.
      expect((await state()).repeated).toBe(0);
    });

    test('control: of two leaders without the fence both count', async () => {
      await sleptLeader(unprotected);
      expect(await counted()).toBeGreaterThan(8);
    });

    const afterFlush = async (protections: NonNullable<RunnerParts['protections']>) => {
      const projecting = runner({ protections });
      await publish(1, 10);
      await drive(projecting);
      await redis.commands.flushall();
      // What a relay or a producer publishes again under its id, and what is new.
      await publish(6, 8);
      await drive(projecting);
    };

    test('a new log is read from its beginning, and what is told again there is known by its id', async () => {
      await afterFlush({ moveOn, rememberEvents });
      expect(await counted()).toBe(13);
      expect(await state()).toMatchObject({ counted: 13, repeated: 5, gaps: 0 });
    });

    test('control: without the memory of ids it counts again what is told again', async () => {
      await afterFlush(unprotected);
      expect(await counted()).toBe(18);
    });

    test.each([
      ['noticed', true],
      ['not noticed by anybody else', false],
    ])(
      'a Redis that came back older, %s: each event counts once, also one that has the number of a lost one',
      async (_, isNoticed) => {
        const projecting = runner({ memory: 15 });
        await publish(1, 10);
        await server.backup();
        await publish(11, 10);
        await drive(projecting);
        const before = await eventLog.position('log');
        redis.close();
        await server.down();
        await server.restore();
        await server.up();
        await connect();
        if (isNoticed) {
          const { epoch, offset, proof } = before;
          expect(await eventLog.testify({ newest: { epoch, offset, proof }, epochs: [] }, 1)).toMatchObject({
            rotated: true,
          });
        }
        // Two of the lost ones are told again, three are new.
        await publish(19, 5);
        const returned = runner({ memory: 15 });
        await drive(returned);
        expect(await counted()).toBe(23);
        await publish(24, 10);
        await drive(returned);
        expect(await counted()).toBe(33);
        expect((await state()).gaps).toBe(0);
        // They are remembered in the order in which they were counted: the oldest are forgotten first.
        const remembered = await database.db
          .selectFrom('projection_events')
          .select('ordinal')
          .orderBy('ordinal')
          .execute();
        expect(remembered.map(({ ordinal }) => ordinal)).toEqual(Array.from({ length: 15 }, (_, index) => 19 + index));
      },
    );

    test('an epoch that changed while the projection was behind: it goes on where it was', async () => {
      const projecting = runner();
      await publish(1, 4);
      await drive(projecting);
      await publish(5, 4);
      const { epoch, offset } = await eventLog.position('log');
      await eventLog.testify({ newest: { epoch, offset: offset + 1, proof: 'ffffffff' }, epochs: [] }, 1);
      await publish(9, 2);
      await drive(projecting);
      expect(await counted()).toBe(10);
      expect(await state()).toMatchObject({ repeated: 0, gaps: 0, aligned_until: 0 });
    });

    test('history that was trimmed before it was read is told, and the rest is counted', async () => {
      const projecting = runner();
      await publish(1, 30);
      await drive(projecting);
      await publish(31, 200);
      await redis.commands.xtrim(keys.stream('log'), 'MAXLEN', 50);
      await drive(projecting);
      expect(await counted()).toBe(80);
      const [lag] = await lagOf(database.db, eventLog, [tally]);
      expect(lag).toMatchObject({ events: 0, gaps: 1, last_gap: { from: 31, to: 180 }, state: 'current' });
    });

    test('an event that nobody can apply is set aside, and the others are counted', async () => {
      const projecting = runner();
      await publish(1, 5);
      await publish(6, 1, { bad: true });
      await publish(7, 5, { empty: true });
      let failures = 0;
      for (;;) {
        try {
          if (!(await projecting.step())) break;
        } catch {
          failures += 1;
        }
      }
      expect(failures).toBeGreaterThan(1);
      expect(await counted()).toBe(10);
      expect(await state()).toMatchObject({ counted: 11, skipped: 5, set_aside: 1 });
      const aside = await database.db.selectFrom('projection_set_aside').selectAll().execute();
      expect(aside).toMatchObject([{ event_id: 'event-6', topic: 'campaign.formed', error: 'nobody can apply this' }]);
    });

    test('transactions that fail at any point leave nothing half done', async () => {
      let calls = 0;
      const shaky: Projection = {
        ...tally,
        async apply(trx, events) {
          calls += 1;
          const skipped = await tally.apply(trx, events);
          if (calls % 2 === 1) throw new Error('lost');
          return skipped;
        },
      };
      await publish(1, 40);
      const projecting = runner({}, shaky);
      for (let isMore = true; isMore; ) isMore = await projecting.step().catch(() => true);
      expect(calls).toBeGreaterThan(40);
      expect(await counted()).toBe(40);
      expect(await state()).toMatchObject({ counted: 40, set_aside: 0 });
    });

    test('rows of another version are left alone until they are rebuilt', async () => {
      await publish(1, 3);
      await drive(runner());
      const next = { ...tally, version: 2 };
      await publish(4, 3);
      await drive(runner({}, next));
      expect(await counted()).toBe(3);
      expect(await lagOf(database.db, eventLog, [next])).toMatchObject([{ state: 'other version' }]);
      await rebuild(database.db, history, [next], 'tally');
      await drive(runner({}, next));
      expect(await counted()).toBe(6);
      // The one that it was does not go on with it.
      await publish(7, 1);
      await drive(runner());
      expect(await counted()).toBe(6);
    });

    test('a rebuild that would lose what the log has dropped has to be asked for', async () => {
      await publish(1, 20);
      const projecting = runner();
      await drive(projecting);
      await redis.commands.xtrim(keys.stream('log'), 'MAXLEN', 5);
      await expect(rebuild(database.db, history, [tally], 'tally')).rejects.toThrow('dropped its first 15 events');
      await expect(rebuild(database.db, history, [tally], 'nothing')).rejects.toThrow("no projection 'nothing'");
      expect(await counted()).toBe(20);
      expect(await rebuild(database.db, history, [tally], 'tally', { acceptLoss: true })).toEqual({
        name: 'tally',
        trimmed: 15,
      });
      // One that led all the while notices.
      await publish(21, 1);
      await drive(projecting);
      await drive(projecting);
      expect(await counted()).toBe(6);
    });

    test('a snapshot names the place that its rows contain, and waits while they are ahead of it', async () => {
      const read = () => projectedSnapshot(database.db, 'tally', 'campaign', async () => ({}));
      expect((await read()).contains).toEqual({ epoch: '', offset: 0, proof: '', logOffset: 0 });
      await publish(1, 3);
      await drive(runner());
      const { epoch, offset, proof } = await eventLog.position('campaign');
      const { offset: logOffset } = await eventLog.position('log');
      expect((await read()).contains).toEqual({ epoch, offset, proof, logOffset });
      await publish(4, 1);
      expect((await read()).contains).toEqual({ epoch, offset, proof, logOffset });
      await database.db.updateTable('projections').set({ aligned_until: 99 }).execute();
      await expect(read()).rejects.toMatchObject({ code: 'unavailable' });
    });
  });
}
