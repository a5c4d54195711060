import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { JsonObject } from '../../src/bus/event.ts';
import { heartbeatProjection, KNOWN_WORKERS } from '../../src/worker/heartbeat-projection.ts';
import { listWorkers, type WorkerName } from '../../src/workers/registry.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';

const NOW_S = 1_795_266_525;

for (const engine of ENGINES) {
  describe(`the registry of workers (${engine})`, () => {
    let database: TestDatabase;
    beforeEach(async () => {
      database = await createTestDatabase(engine);
    });
    afterEach(() => database.dispose());

    const beat = (name: string, payload: JsonObject, ts = NOW_S) =>
      database.db.transaction().execute((trx) =>
        heartbeatProjection.apply(trx, [
          {
            id: crypto.randomUUID(),
            topic: `system.${name}.health`,
            type: 'health',
            ts,
            payload,
            epoch: 'e',
            offsetIn: () => undefined,
          },
        ]),
      );
    const list = async (seen: readonly WorkerName[] = []) => {
      const rows = await listWorkers(database.db, (name) => name === 'bus', NOW_S * 1000, seen);
      return new Map(rows.map(({ name, ...row }) => [name, row]));
    };

    test('shows all that are known, in DECNET`s order, and who has been heard of since when', async () => {
      await beat('mutator', { worker: 'mutator', ts: NOW_S - 89.5, n: 1 });
      await beat('webhook', { worker: 'webhook', ts: NOW_S - 90 });
      await beat('api', { worker: 'api', ts: NOW_S + 60, realism: { llm_enabled: true } }, NOW_S);
      const rows = await list();
      expect([...rows.keys()]).toEqual([...KNOWN_WORKERS]);
      const mutator = { status: 'ok', last_heartbeat_ts: NOW_S - 89.5, seconds_since: 89.5, extra: { n: 1 } };
      expect(rows.get('mutator')).toMatchObject({ ...mutator, installed: false });
      expect(rows.get('webhook')).toMatchObject({ status: 'stale', seconds_since: 90 });
      expect(rows.get('api')).toMatchObject({
        status: 'ok',
        seconds_since: 0,
        extra: { realism: { llm_enabled: true } },
      });
      const unknown = { status: 'unknown', last_heartbeat_ts: null, seconds_since: null, extra: {} };
      expect(rows.get('bus')).toMatchObject({ ...unknown, installed: true });
    });

    test('who is seen to live needs no heartbeat, and keeps what it told', async () => {
      await beat('api', { worker: 'api', ts: NOW_S - 300, pid: 7 });
      expect((await list()).get('api')).toMatchObject({ status: 'stale', seconds_since: 300 });
      const rows = await list(['api', 'bus']);
      const now = { status: 'ok' as const, last_heartbeat_ts: NOW_S, seconds_since: 0 };
      expect(rows.get('api')).toEqual({ ...now, extra: { pid: 7 }, installed: false });
      expect(rows.get('bus')).toEqual({ ...now, extra: {}, installed: true });
    });

    test('a heartbeat with nonsense in it harms nobody', async () => {
      await beat('mutator', { worker: 'mutator', ts: NOW_S - 10 });
      await beat('barista', { worker: 'mutator', ts: NOW_S });
      for (const ts of ['soon', null, [], {}, true]) await beat('sniffer', { worker: 7, ts, x: '\0' }, NOW_S - 5);
      const rows = await list();
      expect(rows.get('mutator')).toMatchObject({ seconds_since: 10 });
      // Without a time of its own it counts from its arrival.
      expect(rows.get('sniffer')).toMatchObject({ status: 'ok', seconds_since: 5 });
      await beat('mutator', { worker: 'mutator', ts: NOW_S });
      expect((await list()).get('mutator')).toMatchObject({ seconds_since: 0 });
    });
  });
}
