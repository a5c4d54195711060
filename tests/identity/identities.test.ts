import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { Elysia } from 'elysia';
import type { JsonObject } from '../../src/bus/event.ts';
import { createEvent } from '../../src/bus/event.ts';
import { appendToOutbox } from '../../src/bus/outbox.ts';
import type { Db } from '../../src/db/database.ts';
import { identityRoutes } from '../../src/identity/routes.ts';
import { identitySnapshot } from '../../src/identity/snapshot.ts';
import { topologyRoutes } from '../../src/topology/routes.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';
import { authenticator, get, shell } from '../topology/support.ts';

const IDENTITY_KEYS = [
  ...['uuid', 'schema_version', 'campaign_id', 'first_seen_at', 'last_seen_at', 'created_at', 'updated_at'],
  ...['confidence', 'observation_count', 'ja3_hashes', 'hassh_hashes', 'ja4h_hashes', 'ja4_quic_hashes'],
  ...['http_versions_seen', 'tls_cert_sha256', 'ipv6_link_local_iids', 'payload_simhashes', 'c2_endpoints'],
  ...['kd_digraph_simhash', 'merged_into_uuid', 'notes'],
].sort();
const ATTACKER_KEYS = [
  ...['uuid', 'ip', 'identity_id', 'first_seen', 'last_seen', 'event_count', 'service_count', 'decky_count'],
  ...['services', 'deckies', 'traversal_path', 'is_traversal', 'bounty_count', 'credential_count', 'fingerprints'],
  ...['commands', 'country_code', 'country_source', 'asn', 'as_name', 'bgp_prefix', 'asn_source', 'rpki_status'],
  ...['rpki_source', 'ptr_record', 'rotation_count', 'last_rotation_at', 'ipv6_leak_count', 'last_ipv6_leak_at'],
  ...['last_ipv6_link_local', 'last_ipv6_iid_kind', 'last_ipv6_mac_oui', 'updated_at'],
].sort();

for (const engine of ENGINES) {
  describe(`identities (${engine})`, () => {
    let database: TestDatabase;
    let app: { handle(request: Request): Promise<Response> };

    beforeAll(async () => {
      database = await createTestDatabase(engine);
      const stream = new Elysia().get('/identities/events', () => 'the stream');
      const parts = { db: database.db, authenticator, freshRows: { wait: async () => {} } };
      app = shell()
        .use(topologyRoutes({ ...parts, onCommitted() {} }))
        .use(identityRoutes(parts))
        .use(stream);
      await insertIdentities(database.db);
    });
    afterAll(() => database.dispose());

    const read = async (path: string) => {
      const response = await app.handle(get(path));
      const body: JsonObject = JSON.parse(await response.text());
      return { status: response.status, body };
    };
    const page = async (path: string): Promise<JsonObject> => {
      const { data, ...rest } = (await read(path)).body;
      const rows: { uuid: string }[] = JSON.parse(JSON.stringify(data));
      return { ...rest, uuids: rows.map((row) => row.uuid) };
    };

    test('lists what is not merged away, newest update first, in pages', async () => {
      expect(await page('/identities')).toEqual({ total: 3, limit: 50, offset: 0, uuids: ['winner', 'c1', 'stray'] });
      expect(await page('/identities?limit=1&offset=1')).toEqual({ total: 3, limit: 1, offset: 1, uuids: ['c1'] });
    });

    test.each(['limit=0', 'limit=1001', 'limit=x', 'offset=-1'])('refuses %s', async (query) => {
      expect((await read(`/identities?${query}`)).status).toBe(422);
      expect((await read(`/identities/winner/observations?${query}`)).status).toBe(422);
    });

    test('gives every key of a row and the live count of its observations', async () => {
      const { status, body } = await read('/identities/winner');
      expect(status).toBe(200);
      expect(Object.keys(body).sort()).toEqual([...IDENTITY_KEYS, 'observation_count_live'].sort());
      expect(body).toMatchObject({
        uuid: 'winner',
        schema_version: 1,
        confidence: 0.75,
        observation_count: 7,
        observation_count_live: 2,
        ja3_hashes: '["abc"]',
        kd_digraph_simhash: '00ff00ff00ff00ff',
        merged_into_uuid: null,
      });
    });

    test('follows merges to the winner, and comes to an end in a circle and behind a missing winner', async () => {
      expect((await read('/identities/loser')).body.uuid).toBe('winner');
      expect((await read('/identities/loser-of-loser')).body.uuid).toBe('winner');
      expect(['circle-a', 'circle-b']).toContain(`${(await read('/identities/circle-a')).body.uuid}`);
      expect((await read('/identities/dangling')).body.uuid).toBe('dangling');
    });

    test('follows a chain for eight hops and no further', async () => {
      expect((await read('/identities/c9')).body.uuid).toBe('c1');
      expect((await read('/identities/c10')).body.uuid).toBe('c2');
    });

    test('gives the observations of the winner, last seen first, lists decoded', async () => {
      expect(await page('/identities/loser/observations')).toEqual({
        total: 2,
        limit: 50,
        offset: 0,
        uuids: ['late', 'early'],
      });
      expect(await page('/identities/winner/observations?limit=1&offset=1')).toMatchObject({
        total: 2,
        uuids: ['early'],
      });
      const rows: JsonObject[] = JSON.parse(JSON.stringify((await read('/identities/winner/observations')).body.data));
      expect(Object.keys(rows[0] ?? {}).sort()).toEqual(ATTACKER_KEYS);
      expect(rows[0]).toMatchObject({
        ip: '192.0.2.2',
        identity_id: 'winner',
        is_traversal: true,
        services: ['ssh'],
        deckies: ['gate'],
        fingerprints: [{ probe: 'jarm' }],
        commands: [],
        traversal_path: null,
        event_count: 0,
      });
      expect(rows[1]).toMatchObject({ is_traversal: false });
    });

    test.each(['none', '%00', '%zz'])('knows no identity %s', async (uuid) => {
      const answer = { status: 404, body: { detail: 'Identity not found' } };
      expect(await read(`/identities/${uuid}`)).toEqual(answer);
      expect(await read(`/identities/${uuid}/observations`)).toEqual(answer);
    });

    test('does not shadow the stream', async () => {
      expect(await (await app.handle(get('/identities/events'))).text()).toBe('the stream');
    });

    test.each(['/identities', '/identities/winner', '/identities/winner/observations'])(
      'asks for a token on %s',
      async (path) => {
        expect((await app.handle(get(path, {}))).status).toBe(401);
      },
    );
  });

  describe(`identitySnapshot (${engine})`, () => {
    let database: TestDatabase;

    beforeAll(async () => {
      database = await createTestDatabase(engine);
      await insertIdentities(database.db);
    });
    afterAll(() => database.dispose());

    test('holds the fifty identities updated last with the revision of their channel', async () => {
      const before = await identitySnapshot(database.db);
      expect(before.revision).toBe(0);
      expect(uuidsOf(before.data)).toEqual(['winner', 'c1', 'stray']);

      const { db } = database;
      await db.transaction().execute(async (trx) => {
        for (let index = 1; index <= 60; index += 1) {
          await trx
            .insertInto('attacker_identities')
            .values(identity(`new-${index}`, null, 100 + index))
            .execute();
        }
        const payload = { identity_uuid: 'new-1', observation_uuids: [] };
        await appendToOutbox(trx, [createEvent('identity.formed', 'formed', payload)]);
      });
      const after = await identitySnapshot(db);
      expect(after.revision).toBe(1);
      expect(Object.keys(after.data)).toEqual(['identities']);
      expect(uuidsOf(after.data)).toEqual(Array.from({ length: 50 }, (_, index) => `new-${60 - index}`));
    });

    test('has every key of a row', async () => {
      const { data } = await identitySnapshot(database.db);
      const rows: JsonObject[] = JSON.parse(JSON.stringify(data.identities));
      for (const row of rows) expect(Object.keys(row).sort()).toEqual(IDENTITY_KEYS);
    });
  });
}

function uuidsOf(data: JsonObject): string[] {
  const rows: { uuid: string }[] = JSON.parse(JSON.stringify(data.identities));
  return rows.map((row) => row.uuid);
}

/** Updated so many minutes after eight o'clock. */
function identity(uuid: string, mergedInto: string | null, minutes: number) {
  return {
    uuid,
    campaign_id: null,
    first_seen_at: null,
    last_seen_at: null,
    created_at: '2026-11-21T08:00:00.000Z',
    updated_at: new Date(Date.parse('2026-11-21T08:00:00.000Z') + minutes * 60_000).toISOString(),
    confidence: 0.75,
    observation_count: 7,
    ja3_hashes: '["abc"]',
    hassh_hashes: null,
    ja4h_hashes: null,
    ja4_quic_hashes: null,
    http_versions_seen: null,
    tls_cert_sha256: null,
    ipv6_link_local_iids: null,
    payload_simhashes: null,
    c2_endpoints: null,
    kd_digraph_simhash: '00ff00ff00ff00ff',
    merged_into_uuid: mergedInto,
    notes: null,
  };
}

async function insertIdentities(db: Db) {
  const chain = Array.from({ length: 9 }, (_, index) => identity(`c${index + 2}`, `c${index + 1}`, 0));
  await db
    .insertInto('attacker_identities')
    .values([
      identity('winner', null, 9),
      identity('stray', null, 1),
      identity('loser', 'winner', 10),
      identity('loser-of-loser', 'loser', 11),
      identity('circle-a', 'circle-b', 12),
      identity('circle-b', 'circle-a', 13),
      identity('dangling', 'nobody', 14),
      identity('c1', null, 5),
      ...chain,
    ])
    .execute();
  const at = '2026-11-21T08:00:00.000Z';
  const attacker = { identity_id: 'winner', first_seen: at, updated_at: at };
  await db
    .insertInto('attackers')
    .values([
      { ...attacker, uuid: 'early', ip: '192.0.2.1', last_seen: '2026-11-21T08:01:00.000Z' },
      { ...attacker, uuid: 'elsewhere', ip: '192.0.2.3', last_seen: at, identity_id: 'stray' },
    ])
    .execute();
  await db
    .insertInto('attackers')
    .values({
      ...attacker,
      uuid: 'late',
      ip: '192.0.2.2',
      last_seen: '2026-11-21T08:02:00.000Z',
      is_traversal: 1,
      services: '["ssh"]',
      deckies: '["gate"]',
      fingerprints: '[{"probe":"jarm"}]',
    })
    .execute();
}
