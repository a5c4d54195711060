import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { JsonObject } from '../../src/bus/event.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';
import { asViewer, get, insertMutation, insertTopology, post, topologyApp } from './support.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const T1 = '/topologies/t1/mutations';

for (const engine of ENGINES) {
  describe(`mutations (${engine})`, () => {
    let database: TestDatabase;
    let app: ReturnType<typeof topologyApp>;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
      app = topologyApp(database.db);
      await insertTopology(database.db, 't1');
    });
    afterEach(() => database.dispose());

    const send = async (body: unknown, path = T1) => {
      const response = await app.handle(post(path, body));
      const answer: { mutation_id?: string; state?: string; detail?: string } = JSON.parse(await response.text());
      return { status: response.status, body: answer };
    };
    const mutations = () =>
      database.db.selectFrom('topology_mutations').selectAll().orderBy('queue_position').execute();
    const outbox = () => database.db.selectFrom('outbox').selectAll().orderBy('seq').execute();
    const revisions = () => database.db.selectFrom('channel_revisions').selectAll().execute();
    const version = async () =>
      (await database.db.selectFrom('topologies').select('version').executeTakeFirstOrThrow()).version;

    test('commits the row together with its event and wakes the relay', async () => {
      const before = Date.now();
      const answer = await send({ op: 'add_lan', payload: { name: 'ops', nested: [1, { a: null }] } });
      expect(answer).toEqual({
        status: 202,
        body: { mutation_id: expect.stringMatching(UUID), state: 'pending' },
      });
      const [row] = await mutations();
      expect(row).toMatchObject({
        id: answer.body.mutation_id ?? '',
        topology_id: 't1',
        op: 'add_lan',
        payload: '{"name":"ops","nested":[1,{"a":null}]}',
        state: 'pending',
        queue_position: 1,
        applied_at: null,
        reason: null,
      });
      expect(row?.requested_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      const [event] = await outbox();
      expect(event).toMatchObject({
        topic: 'topology.t1.mutation.enqueued',
        type: 'enqueued',
        revisions: '{"topology.t1":1}',
      });
      expect(JSON.parse(event?.payload ?? '')).toEqual({
        mutation_id: answer.body.mutation_id,
        op: 'add_lan',
        payload: { name: 'ops', nested: [1, { a: null }] },
      });
      expect(event?.ts).toBeGreaterThanOrEqual(before / 1000);
      expect(event?.ts).toBeLessThanOrEqual(Date.now() / 1000);
      expect(await revisions()).toEqual([{ channel: 'topology.t1', revision: 1 }]);
      expect(app.committed()).toBe(1);
    });

    test.each([
      ['payload omitted', { op: 'add_lan' }, 202],
      ['extra field', { op: 'add_lan', why: 1 }, 202],
      ['version as text', { op: 'add_lan', expected_version: '1' }, 202],
      ['version as a float', '{"op":"add_lan","expected_version":1.0}', 202],
      ['version true', { op: 'add_lan', expected_version: true }, 202],
      ['version null', { op: 'add_lan', expected_version: null }, 202],
      ['unknown op', { op: 'explode' }, 422],
      ['op not a string', { op: 7 }, 422],
      ['payload a list', { op: 'add_lan', payload: [] }, 422],
      ['payload null', { op: 'add_lan', payload: null }, 422],
      ['version abc', { op: 'add_lan', expected_version: 'abc' }, 422],
      ['version 2.5', { op: 'add_lan', expected_version: 2.5 }, 422],
      ['malformed JSON', '{"op":', 422],
      ['a list', [], 422],
      ['op missing', { payload: {} }, 400],
      ['no body', undefined, 400],
      ['a version no column could hold', { op: 'add_lan', expected_version: 1e300 }, 409],
    ])('%s', async (_name, body, status) => {
      const answer = await send(body);
      expect(answer.status).toBe(status);
      if (status !== 202) expect(answer.body.detail).toBeString();
      expect(await mutations()).toHaveLength(status === 202 ? 1 : 0);
      expect(app.committed()).toBe(status === 202 ? 1 : 0);
    });

    test('checks in the order of the contract: media type, JSON, token, role, schema, topology', async () => {
      const status = async (request: Request) => (await app.handle(request)).status;
      const text = new Request(`http://localhost/api/v1${T1}`, {
        method: 'POST',
        body: '{}',
        headers: { 'content-type': 'text/plain', 'content-length': '2' },
      });
      expect(await status(text)).toBe(415);
      expect(await status(post(T1, '{bad', {}))).toBe(422);
      expect(await status(post(T1, { op: 'explode' }, {}))).toBe(401);
      expect(await status(post(T1, { op: 'explode' }, asViewer))).toBe(403);
      expect(await status(post('/topologies/none/mutations', { op: 'explode' }))).toBe(422);
      expect(await status(post('/topologies/none/mutations', { op: 'add_lan' }))).toBe(404);
      expect(await status(post('/topologies/%00/mutations', { op: 'add_lan' }))).toBe(404);
      expect(await status(post('/topologies/%zz/mutations', { op: 'add_lan' }))).toBe(404);
    });

    test('takes mutations only while the topology is live, and says so before it looks at the version', async () => {
      await insertTopology(database.db, 'degraded', { status: 'degraded' });
      expect((await send({ op: 'add_lan' }, '/topologies/degraded/mutations')).status).toBe(202);
      for (const status of ['pending', 'deploying', 'failed', 'tearing_down', 'torn_down']) {
        await insertTopology(database.db, status, { status });
        const answer = await send({ op: 'add_lan', expected_version: 9 }, `/topologies/${status}/mutations`);
        expect(answer.status).toBe(409);
        expect(answer.body.detail).toContain(status);
      }
      expect(await mutations()).toHaveLength(1);
    });

    test('bumps the version by one only when the caller named it', async () => {
      await send({ op: 'add_lan' });
      expect(await version()).toBe(1);
      await send({ op: 'add_lan', expected_version: 1 });
      expect(await version()).toBe(2);
      expect(await send({ op: 'add_lan', expected_version: 1 })).toEqual({
        status: 409,
        body: { detail: 'Version conflict: expected 1, current 2' },
      });
      expect(await version()).toBe(2);
      expect(await mutations()).toHaveLength(2);
    });

    test('lets exactly one of two simultaneous requests with the same version through', async () => {
      for (let round = 1; round <= 5; round += 1) {
        const answers = await Promise.all([
          send({ op: 'add_lan', expected_version: round }),
          send({ op: 'add_lan', expected_version: round }),
        ]);
        expect(answers.map(({ status }) => status).sort()).toEqual([202, 409]);
      }
      expect(await version()).toBe(6);
      expect(await mutations()).toHaveLength(5);
    });

    test('gives simultaneous requests without a version rising places in the queue and in the outbox', async () => {
      await Promise.all(Array.from({ length: 8 }, () => send({ op: 'add_lan' })));
      const rows = await mutations();
      expect(rows.map((row) => row.queue_position)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
      const events = await outbox();
      expect(events.map((event) => JSON.parse(event.payload).mutation_id)).toEqual(rows.map((row) => row.id));
      expect(events.map((event) => event.revisions)).toEqual(rows.map((_, index) => `{"topology.t1":${index + 1}}`));
    });

    test('numbers the queue of each topology by itself', async () => {
      await insertTopology(database.db, 't2');
      await send({ op: 'add_lan' });
      await send({ op: 'add_lan' }, '/topologies/t2/mutations');
      expect((await mutations()).map((row) => row.queue_position)).toEqual([1, 1]);
    });

    test('leaves nothing behind when the event cannot be committed', async () => {
      // The last statement of the transaction, after the version, the row and the revision have been written.
      await database.db.schema.alterTable('outbox').renameTo('outbox_away').execute();
      expect((await send({ op: 'add_lan', expected_version: 1 })).status).toBe(500);
      expect(await mutations()).toEqual([]);
      expect(await revisions()).toEqual([]);
      expect(await version()).toBe(1);
      expect(app.committed()).toBe(0);
    });

    test('lists all mutations newest first with their payload as an object', async () => {
      await insertMutation(database.db, 't1', 1, 'applied');
      await insertMutation(database.db, 't1', 2, 'failed');
      await insertMutation(database.db, 't1', 3);
      const list = async (query: string) => {
        const rows: JsonObject[] = JSON.parse(await (await app.handle(get(`${T1}${query}`))).text());
        return rows;
      };
      expect((await list('')).map((row) => row.id)).toEqual(['m3', 'm2', 'm1']);
      expect(await list('?state=applied')).toEqual([
        {
          id: 'm1',
          topology_id: 't1',
          op: 'update_lan',
          payload: { name: 'dmz' },
          state: 'applied',
          requested_at: '2026-11-21T08:00:01.000Z',
          applied_at: null,
          reason: null,
        },
      ]);
      expect(await list('?state=nonsense')).toEqual([]);
      expect((await app.handle(get('/topologies/none/mutations'))).status).toBe(404);
    });
  });
}
