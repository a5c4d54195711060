import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { appendToOutbox } from '../../src/bus/outbox.ts';
import { setAside } from '../../src/bus/set-aside.ts';
import { outboxRoutes } from '../../src/outbox/routes.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { asAdmin, asViewer, authenticator, shell } from '../topology/support.ts';

for (const engine of ENGINES) {
  describe(`what is set aside, over HTTP (${engine})`, () => {
    let database: TestDatabase;
    let woken: number;
    beforeAll(async () => {
      database = await createTestDatabase(engine);
    });
    beforeEach(async () => {
      woken = 0;
      await database.db.deleteFrom('outbox').execute();
      await database.db.deleteFrom('outbox_set_aside').execute();
    });
    afterAll(() => database.dispose());

    async function ask(method: string, path: string, headers: Record<string, string> = asAdmin) {
      const onCommitted = () => {
        woken += 1;
      };
      const app = shell().use(outboxRoutes({ db: database.db, authenticator, onCommitted, logger: quiet }));
      const response = await app.handle(new Request(`http://localhost/api/v1/outbox${path}`, { method, headers }));
      const text = await response.text();
      return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
    }

    /** An event that was set aside so many seconds after 1970. */
    async function aside(id: string, seconds: number, payload = {}): Promise<void> {
      const { db } = database;
      const event = createEvent('topology.t1.status', 'status', payload, id, 5000);
      await db.transaction().execute((trx) => appendToOutbox(trx, [event]));
      const row = await db.selectFrom('outbox').selectAll().where('event_id', '=', id).executeTakeFirstOrThrow();
      await setAside(db, row, { tries: 5, error: 'WRONGTYPE', isSubstituted: false }, seconds * 1000);
    }

    test('is listed by pages, the newest first, with the beginning of a payload only', async () => {
      await aside('old', 1, { text: 'x'.repeat(1_000_000) });
      await aside('new', 2);
      const { status, body } = await ask('GET', '/set-aside?limit=1&offset=1');
      expect(status).toBe(200);
      expect(body).toEqual({
        total: 2,
        limit: 1,
        offset: 1,
        data: [
          {
            event_id: 'old',
            topic: 'topology.t1.status',
            type: 'status',
            ts: 5,
            bytes: 1_000_011,
            revisions: expect.stringContaining('topology.t1'),
            forget: null,
            tries: 5,
            error: 'WRONGTYPE',
            substituted: false,
            set_aside_at: '1970-01-01T00:00:01.000Z',
            payload_start: `{"text":"${'x'.repeat(491)}`,
          },
        ],
      });
      expect((await ask('GET', '/set-aside')).body.data).toHaveLength(2);
      expect((await ask('GET', '/set-aside?limit=501')).status).toBe(422);
    });

    test('is put back, and the relay is woken', async () => {
      await aside('one', 1);
      expect(await ask('POST', '/set-aside/one/retry')).toEqual({ status: 202, body: { event_id: 'one' } });
      expect(woken).toBe(1);
      expect(await database.db.selectFrom('outbox').select('event_id').execute()).toEqual([{ event_id: 'one' }]);
      expect((await ask('POST', '/set-aside/one/retry')).status).toBe(404);
    });

    test('is given up', async () => {
      await aside('one', 1);
      expect((await ask('DELETE', '/set-aside/one')).status).toBe(204);
      expect((await ask('GET', '/set-aside')).body).toMatchObject({ total: 0, data: [] });
      expect((await ask('DELETE', '/set-aside/one')).status).toBe(404);
    });

    test('has nothing under an id that cannot be one', async () => {
      for (const id of ['nobody', '%00', '%ff']) {
        expect((await ask('DELETE', `/set-aside/${id}`)).status).toBe(404);
        expect((await ask('POST', `/set-aside/${id}/retry`)).status).toBe(404);
      }
    });

    test('is for admins', async () => {
      for (const [method, path] of [
        ['GET', '/set-aside'],
        ['POST', '/set-aside/one/retry'],
        ['DELETE', '/set-aside/one'],
      ] as const) {
        expect((await ask(method, path, asViewer)).status).toBe(403);
        expect((await ask(method, path, {})).status).toBe(401);
      }
    });
  });
}
