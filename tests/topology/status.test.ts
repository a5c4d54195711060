import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { appendToOutbox } from '../../src/bus/outbox.ts';
import { AppError } from '../../src/errors.ts';
import { STATUSES, type TopologyStatus, transition } from '../../src/topology/status.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';
import { events } from './rest.ts';
import { insertTopology } from './support.ts';

const NOW = Date.parse('2026-11-21T09:00:00.000Z');

/** Contract §5.2, written out once more: from → to. */
const LEGAL = [
  'pending deploying',
  'pending torn_down',
  'deploying active',
  'deploying failed',
  'deploying degraded',
  'deploying tearing_down',
  'active degraded',
  'active tearing_down',
  'degraded active',
  'degraded tearing_down',
  'failed tearing_down',
  'tearing_down torn_down',
  'tearing_down degraded',
];

test('there are seven statuses', () => {
  expect([...STATUSES].sort()).toEqual([
    'active',
    'degraded',
    'deploying',
    'failed',
    'pending',
    'tearing_down',
    'torn_down',
  ]);
});

for (const engine of ENGINES) {
  describe(`status machine (${engine})`, () => {
    let database: TestDatabase;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
    });
    afterEach(() => database.dispose());

    const change = (id: string, to: TopologyStatus, from: readonly TopologyStatus[] = STATUSES) =>
      database.db.transaction().execute(async (trx) => {
        await appendToOutbox(trx, [await transition(trx, id, from, to, 'because', NOW)]);
      });
    const codeOf = (change: Promise<unknown>) =>
      change.then(
        () => 'done',
        (error: unknown) => (error instanceof AppError ? error.code : error),
      );
    const topology = (id: string) =>
      database.db
        .selectFrom('topologies')
        .select(['status', 'status_changed_at', 'version'])
        .where('id', '=', id)
        .executeTakeFirst();
    const history = () => database.db.selectFrom('topology_status_events').selectAll().execute();

    test('allows what the contract lists and nothing else, of all 49 steps', async () => {
      const allowed: string[] = [];
      for (const from of STATUSES) {
        for (const to of STATUSES) {
          const id = `${from}-${to}`;
          await insertTopology(database.db, id, { status: from });
          const code = await codeOf(change(id, to));
          if (code === 'done') allowed.push(`${from} ${to}`);
          else expect([code, (await topology(id))?.status]).toEqual(['conflict', from]);
        }
      }
      expect(allowed.sort()).toEqual([...LEGAL].sort());
      const rows = await history();
      expect(rows.map((row) => `${row.from_status} ${row.to_status}`).sort()).toEqual([...LEGAL].sort());
      expect(await events(database.db)).toHaveLength(LEGAL.length);
    });

    test('writes the status, its time, the history and the event, but no version', async () => {
      await insertTopology(database.db, 't1', { status: 'active' });
      await change('t1', 'degraded');
      expect(await topology('t1')).toEqual({
        status: 'degraded',
        status_changed_at: '2026-11-21T09:00:00.000Z',
        version: 1,
      });
      expect(await history()).toEqual([
        {
          id: expect.any(String),
          topology_id: 't1',
          from_status: 'active',
          to_status: 'degraded',
          at: '2026-11-21T09:00:00.000Z',
          reason: 'because',
        },
      ]);
      expect(await events(database.db)).toEqual([
        { topic: 'topology.t1.status', type: 'status', payload: { state: 'degraded', reason: 'because' } },
      ]);
    });

    test('refuses a legal step from a status that the caller does not reckon with', async () => {
      await insertTopology(database.db, 't1', { status: 'degraded' });
      expect(await codeOf(change('t1', 'tearing_down', ['active', 'failed']))).toBe('conflict');
      expect(await codeOf(change('none', 'deploying'))).toBe('not_found');
      expect(await history()).toEqual([]);
      expect(await events(database.db)).toEqual([]);
    });

    test('lets exactly one of several that want the same step make it', async () => {
      for (let round = 0; round < 5; round += 1) {
        const id = `t${round}`;
        await insertTopology(database.db, id, { status: 'pending' });
        const codes = await Promise.all([1, 2, 3].map(() => codeOf(change(id, 'deploying'))));
        expect(codes.sort()).toEqual(['conflict', 'conflict', 'done']);
      }
      expect(await history()).toHaveLength(5);
      expect(await events(database.db)).toHaveLength(5);
    });

    test('takes two different steps that race one after the other, or refuses the second', async () => {
      for (let round = 0; round < 5; round += 1) {
        const id = `t${round}`;
        await insertTopology(database.db, id, { status: 'deploying' });
        const [active, gone] = await Promise.all([
          codeOf(change(id, 'active', ['deploying'])),
          codeOf(change(id, 'tearing_down', ['deploying', 'active'])),
        ]);
        // The teardown is legal after either; becoming active only when it comes first.
        expect(gone).toBe('done');
        expect((await topology(id))?.status).toBe('tearing_down');
        const steps = (await history()).filter((row) => row.topology_id === id);
        expect(steps).toHaveLength(active === 'done' ? 2 : 1);
      }
    });
  });
}
