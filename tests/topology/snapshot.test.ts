import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { Db } from '../../src/db/database.ts';
import { enqueueMutation } from '../../src/topology/enqueue.ts';
import { topologyExists } from '../../src/topology/repository.ts';
import { topologySnapshot } from '../../src/topology/snapshot.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';
import { insertMutation, insertTopology } from './support.ts';

const REQUEST = { op: 'add_lan', payload: { name: 'ops' }, expectedVersion: undefined } as const;

for (const engine of ENGINES) {
  describe(`topologySnapshot (${engine})`, () => {
    let database: TestDatabase;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
      await insertTopology(database.db, 't1');
    });
    afterEach(() => database.dispose());

    test('shows pending before applying, newest first in each, and nothing that has ended', async () => {
      const states = ['applying', 'pending', 'applied', 'failed', 'applying', 'pending'] as const;
      for (const [index, state] of states.entries()) await insertMutation(database.db, 't1', index + 1, state);
      const snapshot = await topologySnapshot(database.db, 't1');
      expect(inFlight(snapshot)).toEqual(['m6', 'm2', 'm5', 'm1']);
      expect(snapshot?.revision).toBe(0);
    });

    test('has exactly the keys of the contract, the payload as a string', async () => {
      await insertMutation(database.db, 't1', 1);
      expect(await topologySnapshot(database.db, 't1')).toEqual({
        revision: 0,
        data: {
          topology_id: 't1',
          status: 'active',
          in_flight: [
            {
              id: 'm1',
              topology_id: 't1',
              op: 'update_lan',
              payload: '{"name":"dmz"}',
              state: 'pending',
              requested_at: '2026-11-21T08:00:01.000Z',
              applied_at: null,
              reason: null,
            },
          ],
        },
      });
    });

    test('names the revision that its data has while mutations are being queued', async () => {
      const writing = Promise.all(Array.from({ length: 10 }, () => enqueueMutation(database.db, 't1', REQUEST)));
      const snapshots = await Promise.all(Array.from({ length: 20 }, () => topologySnapshot(database.db, 't1')));
      await writing;
      for (const snapshot of [...snapshots, await topologySnapshot(database.db, 't1')]) {
        expect(inFlight(snapshot)).toHaveLength(snapshot?.revision ?? -1);
      }
      expect((await topologySnapshot(database.db, 't1'))?.revision).toBe(10);
    });

    test('knows which topologies there are', async () => {
      const answers = async (look: (db: Db, id: string) => Promise<unknown>) =>
        Promise.all(['t1', 'none', '\0'].map((id) => look(database.db, id)));
      expect(await answers(topologyExists)).toEqual([true, false, false]);
      expect((await answers(topologySnapshot)).map((snapshot) => snapshot !== undefined)).toEqual([true, false, false]);
    });
  });
}

function inFlight(snapshot: Awaited<ReturnType<typeof topologySnapshot>>): unknown[] {
  const rows: readonly { readonly id: string }[] = JSON.parse(JSON.stringify(snapshot?.data.in_flight));
  return rows.map((row) => row.id);
}
