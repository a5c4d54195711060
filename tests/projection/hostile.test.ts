import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { uuidOfAddress } from '../../src/attackers/attacker-names.ts';
import { createEvent, type Event, type Json, type JsonObject } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { insertRows } from '../../src/db/insert-rows.ts';
import { lagOf } from '../../src/projection/projections.ts';
import { allProjections } from '../../src/projection/start.ts';
import { readDocument, validatorOf } from '../openapi/support.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';

const LIMIT_MS = 120_000;
const ROLES = { ROLES: 'api,relay,housekeeper,projector', DECNET_KEEP_DAYS: '0' };

const deep = (levels: number): Json => (levels === 0 ? 'deep' : [deep(levels - 1)]);

/** What a payload may hold where something else is expected. */
const HOSTILE: readonly Json[] = [
  '',
  'x'.repeat(20_000),
  // Four bytes each, and nothing that compression makes smaller.
  Array.from({ length: 600 }, (_, n) => String.fromCodePoint(0x20000 + ((n * 7919) % 40_000))).join(''),
  'nul\0nul',
  'half \ud800 of a pair',
  '{"a":',
  `{"a":${'['.repeat(3000)}${']'.repeat(3000)}}`,
  '9999-12-31T23:59:59Z',
  '9999-12-31T23:59:59-14:00',
  '7000-01-01T00:00:00Z',
  '0000-01-01T00:00:00Z',
  '2026-02-31T25:61:61Z',
  -1,
  0.5,
  2 ** 31 - 1,
  2 ** 31,
  1e308,
  -1e308,
  null,
  true,
  [],
  {},
  ['a', 5, null, 'y'.repeat(5000), { b: 1 }],
  { 'nul\0': '\ud800', nested: deep(40) },
  deep(50),
];

const ip = '192.0.2.1';
const line = {
  decky: 'web-1',
  service: 'ssh',
  event_type: 'login',
  attacker_ip: ip,
  timestamp: '2026-11-21T08:00:00Z',
};
/** An event of each kind, as it should be. */
const USUAL: readonly (readonly [topic: string, payload: JsonObject])[] = [
  ['system.log', { ...line, raw_line: 'a line', fields: { username: 'root' }, msg: 'x', trace_id: 't', span_id: 's' }],
  ['system.log', { ...line, fields: '{"username":"root"}' }],
  ['attacker.observed', { attacker_ip: ip, first_seen: '2026-11-21T08:00:00Z' }],
  [
    'attacker.scored',
    {
      ...{ attacker_ip: ip, attacker_uuid: 'a-1', event_count: 1, service_count: 1, decky_count: 1 },
      ...{ bounty_count: 1, credential_count: 1, is_traversal: true },
    },
  ],
  ['attacker.fingerprinted', { attacker_ip: ip, port: 22, hash: 'h' }],
  ['attacker.fingerprint_rotated', { attacker_ip: ip, rotation_count: 1, ts: '2026-11-21T08:00:00Z' }],
  ['credential.captured', { attacker_ip: ip, service: 'ssh' }],
  ['email.received', { attacker_ip: ip, rcpt_domains: ['example.net'] }],
  [
    'attacker.session.ended',
    {
      ...{ attacker_ip: ip, decky_id: 'web-1', service: 'ssh', session_id: 's', ended_at: '2026-11-21T08:00:00Z' },
      commands: [{ command_text: 'id', ts: '2026-11-21T08:00:00Z', decky: 'web-1', service: 'ssh' }],
    },
  ],
  ['attacker.intel.enriched', { attacker_ip: ip, aggregate_verdict: 'benign', updated_at: 'x', attacker_uuid: 'a-1' }],
  [
    'attacker.observation.motor',
    {
      ...{ attacker_uuid: 'a-1', attacker_ip: ip, primitive: 'motor', value: 1, confidence: 0.5, source: 's' },
      ...{ window: { start_ts: 1, end_ts: 2 }, evidence_ref: 'e', id: 'o', ts: 1, v: 1, identity_ref: 'i-1' },
    },
  ],
  [
    'attribution.profile.state_changed',
    {
      ...{ identity_uuid: 'i-1', primitive: 'motor', new_state: 'stable', current_value: 1, confidence: 1 },
      ...{ observation_count: 1, ts: 1 },
    },
  ],
  ['identity.formed', { identity_uuid: 'i-1', observation_uuids: ['a-1'] }],
  ['identity.observation.linked', { identity_uuid: 'i-1', observation_uuid: 'a-2' }],
  ['identity.merged', { winner_uuid: 'i-1', loser_uuid: 'i-2' }],
  ['identity.unmerged', { resurrected_uuid: 'i-2', former_winner_uuid: 'i-1' }],
  ['identity.campaign.assigned', { identity_uuid: 'i-1', campaign_uuid: 'c-1' }],
  ['campaign.formed', { campaign_uuid: 'c-1', identity_uuids: ['i-1'] }],
  ['campaign.identity.assigned', { campaign_uuid: 'c-1', identity_uuid: 'i-1' }],
  ['campaign.merged', { winner_uuid: 'c-1', loser_uuid: 'c-2' }],
  ['campaign.unmerged', { resurrected_uuid: 'c-2' }],
  [
    'orchestrator.traffic.d-1',
    {
      ...{ action: 'exec:id', protocol: 'ssh', src_decky_uuid: 'd', dst_decky_uuid: 'e', success: true },
      ...{ payload: { exit: 0 }, ts: '2026-11-21T08:00:00Z' },
    },
  ],
  [
    'orchestrator.email.d-1',
    {
      ...{ sender_email: 'a@example', recipient_email: 'b@example', subject: 's', language: 'en', thread_id: 't' },
      ...{ message_id: 'm', in_reply_to: 'r', mail_decky_uuid: 'd', success: false, ts: '2026-11-21T08:00:00Z' },
    },
  ],
  ['system.sniffer.health', { worker: 'sniffer', ts: 1, realism: { on: true } }],
];

/** Each with nothing strange in it, at strange times, as what it is not, and with each strange value in each of its places. */
function hostileEvents(): Event[] {
  const events: Event[] = [];
  const add = (topic: string, payload: JsonObject, at?: number, type = 'type') =>
    events.push(createEvent(topic, type, payload, `hostile-${events.length}`, at));
  for (const [topic, payload] of USUAL) {
    for (const at of [undefined, Date.UTC(9999, 11, 31), Date.UTC(6500, 0), -1e12, 8.64e15]) add(topic, payload, at);
    for (const name of Object.keys(payload)) for (const value of HOSTILE) add(topic, { ...payload, [name]: value });
  }
  for (const long of ['p'.repeat(480), 'observation.'.repeat(30).slice(0, -1)]) {
    add(`attacker.observation.${long}`, { attacker_uuid: 'a-1', value: 1 });
    add(`orchestrator.file.${long}`, { action: 'x' });
  }
  add('attacker.fingerprinted', { attacker_ip: ip, blob: 'b'.repeat(1_000_000) }, undefined, 'z'.repeat(512));
  // From here on everything about it is counted up.
  const most = 2 ** 31 - 1;
  const full = { event_count: most, bounty_count: most, credential_count: most };
  add('attacker.scored', { attacker_ip: ip, attacker_uuid: 'a-1', ...full });
  add('attacker.fingerprint_rotated', { attacker_ip: ip, rotation_count: most });
  add('attacker.fingerprint_rotated', { attacker_ip: ip });
  add('credential.captured', { attacker_ip: ip, service: 'ssh' });
  add('system.log', { ...line });
  // A name that another one will have by its address, told before he comes.
  add('attacker.scored', { attacker_ip: '192.0.2.7', attacker_uuid: uuidOfAddress('192.0.2.8') });
  add('system.log', { ...line, attacker_ip: '192.0.2.8' });
  for (let n = 0; n < 50; n += 1) add('attacker.scored', { attacker_ip: '192.0.2.9', attacker_uuid: `name-${n}` });
  for (let n = 0; n < 12; n += 1) {
    add('identity.merged', { winner_uuid: `circle-${n % 3}`, loser_uuid: `circle-${(n + 1) % 3}` });
    add('campaign.merged', { winner_uuid: `circle-${n % 3}`, loser_uuid: `circle-${(n + 1) % 3}` });
  }
  return events;
}

for (const engine of ENGINES) {
  describe(`hostile events (${engine})`, () => {
    let plane: Plane;
    let url: string;
    let token: string;
    let validator: ReturnType<typeof validatorOf>;
    let problemsOf: (path: string, described: string) => Promise<string[]>;

    beforeAll(async () => {
      plane = await createPlane(engine);
      const node = await plane.node({}, ROLES);
      url = node.url;
      token = await plane.token(url);
      validator = validatorOf(await readDocument(url));
      problemsOf = async (path, described) => {
        const response = await call(url, token, 'GET', path);
        if (response.status !== 200) return [`${path}: ${response.status} ${(await response.text()).slice(0, 300)}`];
        const pointer = [
          'paths',
          `/api/v1${described}`,
          'get',
          'responses',
          200,
          'content',
          'application/json',
          'schema',
        ];
        const body: unknown = JSON.parse(await response.text());
        return validator.problems(pointer, body).map((problem) => `${path}: ${problem.slice(0, 300)}`);
      };
      const redis = plane.redis.client();
      const eventLog = new EventLog(redis, { maxEvents: 100_000, idempotencyMs: 60_000 });
      const events = hostileEvents();
      for (let first = 0; first < events.length; first += 200) {
        await eventLog.publish(events.slice(first, first + 200).map((event) => ({ event })));
      }
      const { db } = plane.database;
      await until(
        'the projections to catch up',
        async () => (await lagOf(db, eventLog, allProjections(engine))).every(({ events }) => events === 0),
        LIMIT_MS,
      );
    }, LIMIT_MS);
    afterAll(() => plane.stop());

    test('stop no projection, and none has to be set aside', async () => {
      const aside = await plane.database.db.selectFrom('projection_set_aside').selectAll().execute();
      expect(aside.map(({ projection, topic, error }) => `${projection} ${topic}: ${error}`)).toEqual([]);
    });

    test(
      'leave every page as it is described',
      async () => {
        const { db } = plane.database;
        const problems: string[] = [];
        for (const path of ['/stats', '/attackers', '/identities', '/campaigns', '/workers', '/orchestrator/events']) {
          problems.push(...(await problemsOf(path, path)));
        }
        for (const path of ['/attackers/export/stix', '/attackers/export/misp', '/logs/histogram']) {
          problems.push(...(await problemsOf(path, path)));
        }
        for (const kind of ['email', 'file', 'traffic']) {
          problems.push(...(await problemsOf(`/orchestrator/events?limit=1000&kind=${kind}`, '/orchestrator/events')));
        }
        problems.push(...(await problemsOf('/attackers?limit=1000&search=192.0.2', '/attackers')));
        for (const query of [
          'limit=1000',
          'search=username:root',
          'search=a:x ssh',
          'start_time=2020-01-01 00:00:00',
        ]) {
          problems.push(...(await problemsOf(`/logs?${query}`, '/logs')));
          problems.push(
            ...(await problemsOf(`/logs/histogram?${query.replace('limit', 'interval_minutes')}`, '/logs/histogram')),
          );
        }
        const attackers = await db.selectFrom('attackers').select(['uuid', 'ip']).limit(30).execute();
        const known = attackers.filter((row) => ['192.0.2.1', '192.0.2.8', '192.0.2.9'].includes(row.ip));
        expect(known).toHaveLength(3);
        for (const { uuid } of attackers) {
          const path = `/attackers/${encodeURIComponent(uuid)}`;
          for (const part of [
            '',
            '/attribution',
            '/commands',
            '/artifacts',
            '/transcripts',
            '/smtp-targets',
            '/mail',
          ]) {
            problems.push(...(await problemsOf(`${path}${part}`, `/attackers/{id}${part}`)));
          }
          for (const part of ['/export/stix', '/export/misp']) {
            problems.push(...(await problemsOf(`${path}${part}`, `/attackers/{id}${part}`)));
          }
        }
        const intel = await db.selectFrom('attacker_intel').select('attacker_uuid').limit(20).execute();
        for (const { attacker_uuid } of intel) {
          problems.push(
            ...(await problemsOf(`/attackers/${encodeURIComponent(attacker_uuid)}/intel`, '/attackers/{id}/intel')),
          );
        }
        for (const [table, parts] of [
          ['identities', ['', '/observations']],
          ['campaigns', ['', '/identities']],
        ] as const) {
          const rows = await db
            .selectFrom(table === 'identities' ? 'attacker_identities' : table)
            .select('uuid')
            .limit(30)
            .execute();
          for (const { uuid } of rows) {
            const path = `/${table}/${encodeURIComponent(uuid)}`;
            for (const part of parts) problems.push(...(await problemsOf(`${path}${part}`, `/${table}/{uuid}${part}`)));
          }
        }
        expect(problems.slice(0, 20)).toEqual([]);
      },
      LIMIT_MS,
    );

    test('leave counts at what a column can hold, and an attacker to his own name', async () => {
      const { db } = plane.database;
      const most = 2 ** 31 - 1;
      const counted = await db.selectFrom('attackers').selectAll().where('ip', '=', ip).executeTakeFirstOrThrow();
      expect(counted).toMatchObject({
        event_count: most,
        credential_count: most,
        bounty_count: most,
        rotation_count: most,
      });
      expect(counted.fingerprints.length).toBeLessThan(50 * 20_000);
      const squatted = await db
        .selectFrom('attackers')
        .selectAll()
        .where('ip', '=', '192.0.2.8')
        .executeTakeFirstOrThrow();
      expect(squatted.uuid).not.toBe(uuidOfAddress('192.0.2.8'));
      const names = await db.selectFrom('attacker_uuids').select('uuid').where('ip', '=', '192.0.2.9').execute();
      expect(names).toHaveLength(20);
      const late = await db.selectFrom('logs').select('id').where('timestamp', '>=', '6000').execute();
      expect(late).toEqual([]);
    });

    test(
      'an attacker with a hundred thousand commands has a page',
      async () => {
        const { db } = plane.database;
        const columns = { ip: 'text', timestamp: 'text', service: 'text', decky: 'text', command: 'text' } as const;
        await db.transaction().execute(async (trx) => {
          for (let first = 0; first < 100_000; first += 5000) {
            const rows = Array.from({ length: 5000 }, (_, n) => ({
              ...{
                ip,
                timestamp: '2026-11-21T08:00:00.000Z',
                service: 'ssh',
                decky: 'web-1',
                command: `c ${first + n}`,
              },
            }));
            await insertRows(trx, engine, { table: 'attacker_commands', columns }, rows);
          }
        });
        expect(await problemsOf('/attackers/a-1/commands?limit=200&offset=90000', '/attackers/{id}/commands')).toEqual(
          [],
        );
        expect(await problemsOf('/attackers/a-1', '/attackers/{id}')).toEqual([]);
      },
      LIMIT_MS,
    );
  });
}
