import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import type { JsonObject } from '../../../src/bus/event.ts';
import { EventLog } from '../../../src/bus/event-log.ts';
import { connectRedis, type RedisConnections } from '../../../src/bus/redis.ts';
import { Relay } from '../../../src/bus/relay.ts';
import { listeners } from '../../../src/bus/subscription.ts';
import { Tail } from '../../../src/bus/tail.ts';
import { openDatabase } from '../../../src/db/database.ts';
import type { MutationOp } from '../../../src/topology/model.ts';
import { type Bus, createBus, DEFAULTS, offsetsOf, stored, upTo } from '../../bus/support.ts';
import { ENGINES, quiet } from '../../support/database.ts';
import { whenReady } from '../../support/redis.ts';
import { until } from '../../support/until.ts';
import { createWorld, memorySubstrate, type World } from './support.ts';

const TOPOLOGIES = 50;
const TIMEOUT_MS = 120_000;

/** Ten mutations each of which fails unless those before it have been applied; one fails anyhow, another heals. */
const script = (round: number): (readonly [MutationOp, JsonObject])[] => [
  ['add_lan', { name: `lab-${round}` }],
  ['add_decky', { name: 'db', lan: `lab-${round}`, services: ['mysql'] }],
  ['attach_decky', { decky: 'gateway', lan: `lab-${round}` }],
  ['update_lan', { name: `lab-${round}`, patch: { name: `vault-${round}` } }],
  ['detach_decky', { decky: 'gateway', lan: `vault-${round}` }],
  ['update_decky', { decky: 'db', services: ['postgres'] }],
  ['remove_lan', { name: `lab-${round}` }],
  ['remove_decky', { decky: 'db' }],
  ['remove_lan', { name: `vault-${round}` }],
  ['update_lan', { name: 'dmz', x: round }],
];
const ROUNDS = [script(1), script(2)] as const;
const SCRIPT = ROUNDS.flat();
const EXPECTED = SCRIPT.flatMap(([op, payload]) => {
  const fails = op === 'remove_lan' && String(payload.name).startsWith('lab-');
  const heals = op === 'remove_decky';
  return ['mutation.applying', fails ? 'mutation.failed' : 'mutation.applied', ...(fails || heals ? ['status'] : [])];
});

let bus: Bus;
let connections: RedisConnections;
beforeAll(async () => {
  bus = await createBus();
  connections = connectRedis(bus.server.url, quiet);
  await whenReady(connections);
});
afterAll(async () => {
  connections.close();
  await bus.stop();
});

for (const engine of ENGINES) {
  describe(`three mutators (${engine})`, () => {
    let world: World;
    beforeAll(async () => {
      world = await createWorld(engine);
      await bus.redis.flushall();
    });
    afterEach(() => world.clear());
    afterAll(() => world.dispose());

    test(
      'apply a thousand mutations of fifty topologies in order, once each, and the log tells so',
      async () => {
        const ids = upTo(TOPOLOGIES).map((n) => `t${n}`);
        for (const id of ids) await world.office(id);
        const enqueue = (round: typeof SCRIPT) =>
          Promise.all(
            ids.map(async (id) => {
              for (const [op, payload] of round) await world.enqueue(op, payload, id);
            }),
          );
        await enqueue(ROUNDS[0]);
        const log = new EventLog(connections.commands, DEFAULTS);
        const relay = new Relay(world.db, log, 'n1', quiet);
        const memory = memorySubstrate();
        // SQLite has one connection a process; on PostgreSQL each mutator has its own, as on nodes of its own.
        const dbs = engine === 'sqlite' ? [] : [1, 2, 3].map(() => openDatabase(world.url, quiet));
        const mutators = [0, 1, 2].map((index) =>
          world.mutator({
            db: dbs[index] ?? world.db,
            substrate: memory.substrate,
            onCommitted: () => relay.wake(),
            pollMs: 100,
          }),
        );
        const tail = new Tail(
          connections.openTail,
          log,
          listeners(
            mutators.map(({ listener }) => listener),
            quiet,
          ),
          quiet,
        );
        tail.start();
        relay.start();
        try {
          // The rest comes while they are at work.
          await enqueue(ROUNDS[1]);
          await until('all mutations', async () => (await countOpen()) === 0, TIMEOUT_MS);
          await until('an empty outbox', async () => (await relay.lag()).rows === 0, TIMEOUT_MS);
        } finally {
          await Promise.all(mutators.map((mutator) => mutator.stop()));
          await relay.stop();
          await tail.stop();
          await Promise.all(dbs.map((db) => db.destroy()));
        }
        const holders = new Set<string | null>();
        for (const id of ids) {
          const rows = await world.mutations(id);
          expect(rows.map(({ attempts }) => attempts)).toEqual(SCRIPT.map(() => 1));
          for (const row of rows) holders.add(row.claimed_by);
          const entries = await stored(bus.redis, `topology.${id}`);
          expect(offsetsOf(entries)).toEqual(upTo(entries.length));
          const told = entries.map(({ topic, data }) => ({
            name: topic.slice(`topology.${id}.`.length),
            ...parsed(data),
          }));
          const done = told.filter(({ name }) => name !== 'mutation.enqueued');
          expect(done.map(({ name }) => name)).toEqual(EXPECTED);
          for (const name of ['mutation.enqueued', 'mutation.applying']) {
            expect(told.filter((event) => event.name === name).map((event) => event.mutation)).toEqual(
              rows.map((row) => row.id),
            );
          }
          expect(await world.status(id)).toBe('active');
          expect((await world.state(id)).lans.map(({ name, x }) => [name, x])).toEqual([
            ['dmz', 2],
            ['office', null],
          ]);
        }
        // Each mutator took part, and the substrate was asked once for each thing.
        expect([...holders].sort()).toEqual(['m1', 'm2', 'm3']);
        const asked = Map.groupBy(memory.asked, (what) => what.replace(/-\d$/, ''));
        expect(Object.fromEntries([...asked].map(([what, times]) => [what, times.length]))).toEqual({
          'ensureNetwork lab': 2 * TOPOLOGIES,
          'ensureNetwork vault': 2 * TOPOLOGIES,
          'removeNetwork vault': 2 * TOPOLOGIES,
          'ensureDecky db': 4 * TOPOLOGIES,
          'removeDecky db': 2 * TOPOLOGIES,
          'ensureDecky gateway': 4 * TOPOLOGIES,
        });
      },
      TIMEOUT_MS,
    );

    const countOpen = async () => {
      const { open } = await world.db
        .selectFrom('topology_mutations')
        .select((eb) => eb.fn.countAll<number>().as('open'))
        .where('state', 'in', ['pending', 'applying'])
        .executeTakeFirstOrThrow();
      return Number(open);
    };
  });
}

function parsed(data: string): { mutation: unknown } {
  const { payload }: { payload: JsonObject } = JSON.parse(data);
  return { mutation: payload.mutation_id };
}
