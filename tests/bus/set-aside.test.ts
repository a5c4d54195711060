import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import type { KyselyPlugin } from 'kysely';
import { createEvent, type Event } from '../../src/bus/event.ts';
import { EventLog, type Publication, type WitnessedPlace } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { appendToOutbox } from '../../src/bus/outbox.ts';
import { OutboxPublisher } from '../../src/bus/outbox-publisher.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { Relay } from '../../src/bus/relay.ts';
import { countSetAside, discardSetAside, listSetAside, putBack, setAside } from '../../src/bus/set-aside.ts';
import type { Db } from '../../src/db/database.ts';
import type { OutboxRow } from '../../src/db/schema.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { whenReady } from '../support/redis.ts';
import { until } from '../support/until.ts';
import { type Bus, createBus, DEFAULTS, idsOf, offsetsOf, stored, storedLog, upTo } from './support.ts';

const FENCE = 1;

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
afterAll(() => bus.stop());

const identity = (n: number) => createEvent('identity.formed', '', { n }, `i${n}`);
const status = (topology: string, n: number) =>
  createEvent(`topology.${topology}.status`, 'status', { n }, `${topology}-${n}`);
const deep = `{"a":${'['.repeat(39_998)}${']'.repeat(39_998)}}`;

for (const engine of ENGINES) {
  describe(`what cannot be published, on ${engine}`, () => {
    let database: TestDatabase;
    let db: Db;
    let connections: RedisConnections;
    let lines: string[];
    beforeAll(async () => {
      database = await createTestDatabase(engine);
      db = database.db;
    });
    beforeEach(async () => {
      await bus.redis.flushall();
      // Minting an epoch clears away all streams, and what these tests put in the place of one.
      await bus.log.position('log');
      for (const table of ['outbox', 'outbox_set_aside', 'channel_revisions', 'leases'] as const) {
        await db.deleteFrom(table).execute();
      }
      lines = [];
      connections = connectRedis(bus.server.url, quiet);
      await whenReady(connections);
    });
    afterEach(() => connections.close());
    afterAll(() => database.dispose());

    const commit = (...events: readonly Event[]) => db.transaction().execute((trx) => appendToOutbox(trx, events));
    const spoil = (id: string, columns: Partial<OutboxRow>) =>
      db.updateTable('outbox').set(columns).where('event_id', '=', id).execute();
    const createPublisher = (on = db) =>
      new OutboxPublisher(
        on,
        new EventLog(connections.commands, DEFAULTS),
        createLog('debug', (line) => lines.push(line)),
      );
    const waiting = () => db.selectFrom('outbox').select('event_id').orderBy('seq').execute();
    const page = () => listSetAside(db, { limit: 50, offset: 0 });
    async function drain(publisher = createPublisher()): Promise<void> {
      while (await publisher.publishNext(FENCE));
      expect(await waiting()).toEqual([]);
    }
    const errors = () => lines.filter((line) => line.includes('"level":"error"'));

    test.each([
      ['nests 39,998 lists', { payload: deep }],
      ['is no JSON', { payload: '{"n":' }],
      ['is no object', { payload: '[1]' }],
      ['is nothing', { payload: 'null' }],
      ['has a type that is too long', { type: 'x'.repeat(10_000) }],
    ] satisfies [string, { payload?: string; type?: string }][])('a row that %s stops no other', async (_, damage) => {
      await commit(...upTo(5).map(identity));
      await spoil('i3', damage);
      await drain();
      const entries = await stored(bus.redis, 'identity');
      // Its clients see where they lack something, and their chain of offsets and revisions is whole.
      expect(idsOf(entries)).toEqual(['i1', 'i2', 'i3', 'i4', 'i5']);
      expect(entries.map(({ revision }) => revision)).toEqual(upTo(5));
      expect(offsetsOf(entries)).toEqual(upTo(5));
      expect(JSON.parse(entries[2]?.data ?? '')).toMatchObject({
        topic: 'identity.formed',
        payload: { set_aside: true, reason: expect.any(String) },
      });
      const [row, ...rows] = await page();
      expect(rows).toEqual([]);
      expect(row).toMatchObject({ event_id: 'i3', topic: 'identity.formed', tries: 1, substituted: 1 });
      expect(row?.payload_start).toBe(('payload' in damage ? damage.payload : '{"n":3}').slice(0, 500));
      expect(errors()).toHaveLength(1);
      expect(JSON.parse(errors()[0] ?? '')).toMatchObject({ event: 'i3', topic: 'identity.formed' });
    });

    test('the substitute of a decky’s event is in its topology’s channel as well', async () => {
      await commit(createEvent('decky.web.state', 'state', { topology_id: 't1', n: 1 }, 'd1'));
      await spoil('d1', { payload: 'x' });
      await drain();
      for (const channel of ['decky', 'topology.t1']) {
        expect((await stored(bus.redis, channel)).map(({ id, revision }) => [id, revision])).toEqual([['d1', 1]]);
      }
    });

    test('a row without a usable topic, or without revisions, is set aside all the same', async () => {
      await commit(identity(1), identity(2), identity(3));
      await spoil('i1', { topic: 'a *' });
      await spoil('i2', { revisions: '{"identity":"x"}' });
      await drain();
      expect((await page()).map(({ event_id }) => event_id).sort()).toEqual(['i1', 'i2']);
      // Told in the log where it can be told nowhere else.
      const told = (await storedLog(bus.redis)).map(({ topic, places }) => [topic, places.length]);
      expect(told).toEqual([
        ['log.set_aside', 0],
        ['identity.formed', 1],
        ['identity.formed', 1],
      ]);
    });

    test('rows of a channel that refuses them are set aside after some tries, the others go on in order', async () => {
      await bus.redis.set(keys.stream('topology.t1'), 'in the way');
      await commit(status('t1', 1), identity(1), status('t1', 2), status('t2', 1), identity(2), status('t1', 3));
      await drain();
      expect(idsOf(await stored(bus.redis, 'identity'))).toEqual(['i1', 'i2']);
      expect(idsOf(await stored(bus.redis, 'topology.t2'))).toEqual(['t2-1']);
      const rows = await page();
      expect(rows.map(({ event_id, tries, substituted }) => [event_id, tries, substituted]).sort()).toEqual([
        ['t1-1', 5, 0],
        // What is known does not hold the others up again and again.
        ['t1-2', 1, 0],
        ['t1-3', 1, 0],
      ]);
      expect(rows[0]?.error).toContain('WRONGTYPE');
      expect(errors()).toHaveLength(3);
    });

    test('a channel that takes events again has its five tries again', async () => {
      const publisher = createPublisher();
      await bus.redis.set(keys.stream('topology.t1'), 'in the way');
      await commit(status('t1', 1));
      await drain(publisher);
      await bus.redis.del(keys.stream('topology.t1'));
      await commit(status('t1', 2));
      await drain(publisher);
      await bus.redis.set(keys.stream('topology.t1'), 'in the way');
      await commit(status('t1', 3));
      await drain(publisher);
      expect((await page()).map(({ event_id, tries }) => [event_id, tries]).sort()).toEqual([
        ['t1-1', 5],
        ['t1-3', 5],
      ]);
    });

    test.each([
      ['out of memory', 'OOM'],
      ['a replica', 'READONLY'],
      ['without its log', 'WRONGTYPE'],
    ])('a Redis that is %s has nothing set aside, however often it is tried', async (_, code) => {
      await commit(identity(1), status('t1', 1));
      if (code === 'OOM') await bus.redis.config('SET', 'maxmemory', '1');
      // A replica of nobody; what it held is still there.
      if (code === 'READONLY') await bus.redis.replicaof('127.0.0.1', 1);
      if (code === 'WRONGTYPE') await bus.redis.set(keys.stream('log'), 'in the way');
      const publisher = createPublisher();
      let refusals = 0;
      try {
        for (let attempt = 0; attempt < 12; attempt += 1) {
          await publisher.publishNext(FENCE).catch((error: unknown) => {
            refusals += 1;
            expect(String(error)).toContain(code);
          });
        }
      } finally {
        await bus.redis.config('SET', 'maxmemory', '0');
        await bus.redis.replicaof('NO', 'ONE');
        if (code === 'WRONGTYPE') await bus.redis.del(keys.stream('log'));
      }
      expect(refusals).toBeGreaterThanOrEqual(2);
      expect(await countSetAside(db)).toBe(0);
      await drain(publisher);
      expect(idsOf(await storedLog(bus.redis))).toEqual(['i1', 't1-1']);
    });

    test('a Redis that is well again at the last moment had no row at fault', async () => {
      class RecoveringLog extends EventLog {
        override async relay(publications: readonly Publication[], ...of: [number, WitnessedPlace]) {
          const isVerdict = publications.some(({ event }) => event.payload.set_aside === true);
          if (isVerdict) await bus.redis.config('SET', 'maxmemory', '0');
          return super.relay(publications, ...of);
        }
      }
      await commit(identity(1));
      await bus.redis.config('SET', 'maxmemory', '1');
      const publisher = new OutboxPublisher(db, new RecoveringLog(connections.commands, DEFAULTS), quiet);
      try {
        for (let attempt = 0; attempt < 8; attempt += 1) await publisher.publishNext(FENCE).catch(() => {});
      } finally {
        await bus.redis.config('SET', 'maxmemory', '0');
      }
      expect(await countSetAside(db)).toBe(0);
      await drain(publisher);
      expect((await stored(bus.redis, 'identity')).map(({ data }) => JSON.parse(data).payload)).toEqual([{ n: 1 }]);
    });

    test('a Redis that is away has nothing set aside', async () => {
      await commit(identity(1), identity(2));
      await bus.server.down();
      const publisher = createPublisher();
      for (let attempt = 0; attempt < 6; attempt += 1) {
        await expect(publisher.publishNext(FENCE)).rejects.toThrow();
      }
      await bus.server.up();
      await until('redis', () => connections.commands.ping().catch(() => undefined));
      expect(await countSetAside(db)).toBe(0);
      await drain(publisher);
      expect(idsOf(await stored(bus.redis, 'identity'))).toEqual(['i1', 'i2']);
    }, 20_000);

    test('the relay goes on by itself, and says how many are set aside', async () => {
      const relay = new Relay(db, new EventLog(connections.commands, DEFAULTS), 'n1', quiet);
      await commit(identity(1), identity(2));
      await spoil('i1', { payload: deep });
      relay.start();
      await until('an empty outbox', async () => (await waiting()).length === 0);
      expect(idsOf(await stored(bus.redis, 'identity'))).toEqual(['i1', 'i2']);
      expect(await relay.lag()).toEqual({ rows: 0, oldestSeconds: 0, setAside: 1 });
      await relay.stop();
    });

    describe('that is set aside', () => {
      test('is published after all when it is put back, under its id where nothing bears it', async () => {
        await bus.redis.set(keys.stream('topology.t1'), 'in the way');
        await commit(status('t1', 1), identity(1));
        await drain();
        await bus.redis.del(keys.stream('topology.t1'));
        await commit(identity(2));
        expect(await putBack(db, 't1-1')).toBe('t1-1');
        expect((await waiting()).map(({ event_id }) => event_id)).toEqual(['i2', 't1-1']);
        await drain();
        expect((await stored(bus.redis, 'topology.t1')).map(({ id, revision }) => [id, revision])).toEqual([
          ['t1-1', 1],
        ]);
        expect(await countSetAside(db)).toBe(0);
      });

      test('gets another id where its substitute bears it: it would be taken for published', async () => {
        await commit(identity(1));
        await spoil('i1', { payload: 'x' });
        await drain();
        await db.updateTable('outbox_set_aside').set({ payload: '{"n":"mended"}' }).execute();
        const id = await putBack(db, 'i1');
        expect(id).toMatch(/^[0-9a-f]{32}$/);
        await drain();
        const [, entry] = await stored(bus.redis, 'identity');
        expect(entry?.id).toBe(String(id));
        expect(JSON.parse(entry?.data ?? '').payload).toEqual({ n: 'mended' });
      });

      test('is put back or given up once, whoever asks at the same time', async () => {
        await commit(identity(1), identity(2));
        await spoil('i1', { payload: 'x' });
        await spoil('i2', { payload: 'x' });
        await drain();
        const answers = await Promise.all(upTo(6).map(() => putBack(db, 'i1')));
        expect(answers.filter((id) => id !== undefined)).toHaveLength(1);
        expect(await waiting()).toHaveLength(1);
        const discarded = await Promise.all(upTo(6).map(() => discardSetAside(db, 'i2')));
        expect(discarded.filter(Boolean)).toHaveLength(1);
        expect(await page()).toEqual([]);
        expect(await putBack(db, 'i2')).toBeUndefined();
      });

      test('was moved once, though two took themselves for the leader', async () => {
        await commit(identity(1), identity(2));
        const [row] = await db.selectFrom('outbox').selectAll().orderBy('seq').execute();
        if (row === undefined) throw new Error('no row');
        const reason = { tries: 1, error: 'why', isSubstituted: false };
        await Promise.all([setAside(db, row, reason, 0), setAside(db, row, reason, 0)]);
        expect((await page()).map(({ event_id }) => event_id)).toEqual(['i1']);
        expect((await waiting()).map(({ event_id }) => event_id)).toEqual(['i2']);
      });
    });

    describe('what is read of the outbox at once', () => {
      /** What each answer of the database held. */
      function watched() {
        const answers: { rows: number; bytes: number }[] = [];
        const plugin: KyselyPlugin = {
          transformQuery: ({ node }) => node,
          async transformResult({ result }) {
            const bytes = result.rows.map((row) => (typeof row.payload === 'string' ? row.payload.length : 0));
            answers.push({ rows: result.rows.length, bytes: bytes.reduce((sum, own) => sum + own, 0) });
            return result;
          },
        };
        return { answers, db: db.withPlugin(plugin) };
      }

      const sized = (n: number, bytes: number) =>
        createEvent('identity.formed', '', { text: 'x'.repeat(bytes - '{"text":""}'.length) }, `s${n}`);

      test('is bounded in rows', async () => {
        const { answers, db: on } = watched();
        await commit(...upTo(450).map(identity));
        await drain(createPublisher(on));
        expect(Math.max(...answers.map(({ rows }) => rows))).toBe(200);
        expect(idsOf(await stored(bus.redis, 'identity'))).toEqual(upTo(450).map((n) => `i${n}`));
      });

      test('is bounded in bytes', async () => {
        const { answers, db: on } = watched();
        const events = upTo(40).map((n) => sized(n, n % 10 === 0 ? 700_000 : 100_000));
        await commit(...events);
        await drain(createPublisher(on));
        expect(Math.max(...answers.map(({ bytes }) => bytes))).toBeLessThanOrEqual(1024 * 1024);
        expect(idsOf(await stored(bus.redis, 'identity'))).toEqual(eventIds(events));
      });

      test('is one row where that alone is larger', async () => {
        const { answers, db: on } = watched();
        const events = [sized(1, 10_000), sized(2, 2_000_000), sized(3, 2_000_000), sized(4, 10_000)];
        await commit(...events);
        await drain(createPublisher(on));
        expect(answers.filter(({ bytes }) => bytes > 0)).toEqual([
          { rows: 1, bytes: 10_000 },
          { rows: 1, bytes: 2_000_000 },
          { rows: 1, bytes: 2_000_000 },
          { rows: 1, bytes: 10_000 },
        ]);
        expect(idsOf(await stored(bus.redis, 'identity'))).toEqual(eventIds(events));
      });

      test('counts bytes, not characters', async () => {
        await commit(createEvent('identity.formed', '', { text: '€'.repeat(100) }, 'euro'));
        const { bytes } = await db.selectFrom('outbox').select('bytes').executeTakeFirstOrThrow();
        expect(bytes).toBe(Buffer.byteLength(JSON.stringify({ text: '€'.repeat(100) })));
      });
    });
  });
}

const eventIds = (events: readonly Event[]) => events.map(({ id }) => id);
