import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';
import { CAMPAIGN, envelope, IDENTITY, LISTED_ATTACKER, LOG_LINE, type Shape } from './shape.ts';
import { BUSY, SECOND, STORY, type Told } from './story.ts';
import { LIMIT_MS, type Visit, visit } from './support.ts';

/** Nobody has to tell what pages expect. What they print must be printable all the same: React goes blank at an object. */

const LONELY = '1d000000-0000-4000-8000-000000000009';
const UNTOLD_CAMPAIGN = 'ca000000-0000-4000-8000-000000000009';
const NESTED = { deep: { er: [1] } };

const line = (event_type: string, fields: unknown): Told => [
  'system.log',
  event_type,
  { decky: 'odd', service: 'ssh', event_type, attacker_ip: SECOND.ip, fields },
];
const probe = (type: string, payload: object): Told => [
  'attacker.fingerprinted',
  type,
  { attacker_ip: SECOND.ip, ...payload },
];

const ODD: readonly Told[] = [
  line('file_captured', { orig_path: NESTED, sha256: ['a', 'b'], size: null, stored_as: [NESTED] }),
  line('message_stored', { subject: NESTED, rcpts: ['a@x.example', 'b@x.example'] }),
  line('session_recorded', JSON.stringify({ sid: NESTED, bytes: true })),
  ...[null, [1, 2], 'null', '[1]', 'no JSON', 7].map((fields) => line('odd', fields)),
  probe('jarm', { port: 443, jarm_hash: 'j4' }),
  probe('hassh', { port: 22, hassh_server: 'h4', ssh_banner: NESTED, kex_algorithms: ['a', 'b'] }),
  probe('tcpfp', { port: 80, tcpfp_hash: 't4', ttl: 64, mss: NESTED }),
  probe('tls_certificate', { port: 8443, subject_cn: 'x', cert_sha256: 7, self_signed: true, sans: NESTED }),
  probe('ipv6_leak', { addr: 'fe80::1', iid_kind: 'eui64', mac_oui: null, vector: 'mdns' }),
  probe('icmp_error', {
    icmp_matrix: '1010',
    icmp_fp_hash: 'i4',
    errors: { time_exceeded: { returned: true, src_ip: NESTED }, port_unreachable: 3 },
  }),
  probe('http_quirks', { order: ['Host', NESTED], signals: 'none' }),
  probe('constructor', { value: NESTED }),
  [
    'attacker.intel.enriched',
    'intel.enriched',
    {
      attacker_uuid: SECOND.uuid,
      attacker_ip: SECOND.ip,
      aggregate_verdict: NESTED,
      greynoise_classification: NESTED,
      abuseipdb_score: 12,
      feodo_listed: true,
      feodo_malware_family: 'Dridex',
      threatfox_listed: true,
      threatfox_malware_families: [NESTED],
    },
  ],
  ['identity.formed', 'formed', { identity_uuid: LONELY, observation_uuids: [] }],
  ['identity.campaign.assigned', 'campaign.assigned', { identity_uuid: LONELY, campaign_uuid: UNTOLD_CAMPAIGN }],
];

// biome-ignore lint/suspicious/noExplicitAny: a page prints any of it
type Body = any;

/** Names of values that a page could not print. */
function unprintable(fields: Body): string[] {
  const isNested = (value: unknown) => typeof value === 'object' && value !== null;
  return Object.entries(fields).flatMap(([name, value]) =>
    isNested(value) && !(Array.isArray(value) && !value.some(isNested)) ? [name] : [],
  );
}

for (const engine of ENGINES) {
  describe(`what nobody expects (${engine})`, () => {
    let page: Visit;
    beforeAll(async () => {
      page = await visit(engine, [...STORY, ...ODD]);
    }, LIMIT_MS);
    afterAll(() => page.stop());
    const path = `/attackers/${SECOND.uuid}`;

    test('is printed with its line, wherever that is listed', async () => {
      const { data } = await page.get('/logs?search=decky:odd', envelope(LOG_LINE));
      expect(data.flatMap(({ fields }: Body) => unprintable(JSON.parse(fields)))).toEqual([]);
      expect(data.slice(0, 6).map(({ fields }: Body) => fields)).toEqual(Array(6).fill('{}'));
      const fieldsOf = async (part: string) =>
        JSON.parse((await page.get(`${path}/${part}`, undefined, page.admin)).data[0].fields);
      expect(await fieldsOf('artifacts')).toEqual({
        orig_path: '{"deep":{"er":[1]}}',
        sha256: ['a', 'b'],
        size: null,
        stored_as: '[{"deep":{"er":[1]}}]',
      });
      expect(await fieldsOf('mail')).toEqual({
        subject: '{"deep":{"er":[1]}}',
        rcpts: ['a@x.example', 'b@x.example'],
      });
      expect(await fieldsOf('transcripts')).toEqual({ sid: '{"deep":{"er":[1]}}', bytes: true });
    });

    test('comes with a line that is told now', async () => {
      const stream = await page.stream('/stream?search=decky:later');
      await stream.untilFrames(1);
      await page.publish([['system.log', 'x', { decky: 'later', fields: NESTED }]]);
      const told = await until('the line', () =>
        stream.frames.map(({ data }) => JSON.parse(data)).find(({ type }: Body) => type === 'logs'),
      );
      expect(JSON.parse(told.data[0].fields)).toEqual({ deep: '{"er":[1]}' });
    });

    test('is no fingerprint that a page would break at, and each probe shows what it has found', async () => {
      const lists = [
        (await page.get(path)).fingerprints,
        (await page.get(`/attackers?search=${SECOND.ip}`)).data[0].fingerprints,
      ];
      for (const fingerprints of lists) {
        const payloads = fingerprints.map(({ payload }: Body) => payload);
        for (const { errors, ...payload } of payloads)
          expect(unprintable({ ...payload, ...errors?.time_exceeded })).toEqual([]);
        expect(payloads).toMatchObject([
          { fingerprint_type: 'jarm', hash: 'j4', target_ip: SECOND.ip, target_port: 443 },
          { fingerprint_type: 'hassh_server', hash: 'h4', kex_algorithms: 'a,b', ssh_banner: expect.any(String) },
          { fingerprint_type: 'tcpfp', hash: 't4', ttl: 64, mss: expect.any(String) },
          { fingerprint_type: 'tls_certificate', cert_sha256: '7', self_signed: 'true', target_ip: SECOND.ip },
          { fingerprint_type: 'ipv6_leak', value: 'fe80::1 · eui64 · mdns' },
          { fingerprint_type: 'icmp_error', matrix: '1010', fp_hash: 'i4' },
          { fingerprint_type: 'http_quirks', order: ['Host', expect.any(String)], signals: null },
          { fingerprint_type: 'unknown', value: expect.any(String) },
        ]);
        expect(Object.keys(payloads[5].errors)).toEqual(['time_exceeded']);
      }
    });

    test('is no intelligence that a page would break at', async () => {
      const intel = await page.get(`${path}/intel`);
      const { feodo_raw, threatfox_raw, ...rest } = intel;
      expect(unprintable({ ...rest, ...feodo_raw, ...threatfox_raw[0] })).toEqual([]);
      expect(intel).toMatchObject({
        aggregate_verdict: null,
        greynoise_classification: expect.any(String),
        abuseipdb_score: 12,
        feodo_raw: { malware: 'Dridex' },
        threatfox_raw: [{ malware: '{"deep":{"er":[1]}}' }],
        cached_at: expect.any(String),
        feodo_queried_at: expect.any(String),
      });
    });

    test('is an attacker whose row came in another way than by events, as in the demonstration', async () => {
      const [uuid, ip, at] = ['a1000000-0000-4000-8000-000000000077', '192.0.2.77', new Date().toISOString()];
      const found = { fingerprint_type: 'hassh', port: 22, hassh_server: 'ec7378c1a92f5a8dde7e8b7a1ddf33d1' };
      const hassh = { bounty_type: 'fingerprint', payload: found };
      await page.plane.database.db
        .insertInto('attackers')
        .values({ uuid, ip, first_seen: at, last_seen: at, updated_at: at, fingerprints: JSON.stringify([hassh]) })
        .execute();
      const told = { attacker_uuid: uuid, attacker_ip: ip, aggregate_verdict: 'benign', abuseipdb_score: 3 };
      await page.tell([['attacker.intel.enriched', 'intel.enriched', told]]);
      expect(await page.get(`/attackers/${uuid}/intel`)).toMatchObject({ attacker_uuid: uuid, abuseipdb_score: 3 });
      expect((await page.get(`/attackers/${uuid}`)).fingerprints).toMatchObject([
        { payload: { fingerprint_type: 'hassh_server', hash: expect.any(String), target_ip: ip } },
      ]);
    });

    test('is an observation that names no primitive but in its topic', async () => {
      const stream = await page.stream(`/attackers/${BUSY.uuid}/events`);
      await stream.untilFrames(1);
      await page.tell([
        ['attacker.observation.motor.rhythm', '', { attacker_uuid: BUSY.uuid, value: NESTED }],
        ['attacker.observation.motor.pause', '', { attacker_uuid: BUSY.uuid, value: 1, primitive: NESTED }],
      ]);
      await until('both', () => stream.named('observation').length === 2);
      const heard = stream.named('observation').map(({ data }) => JSON.parse(data).payload.primitive);
      expect(heard).toEqual(['motor.rhythm', 'motor.pause']);
      const { observations } = await page.get(`/attackers/${BUSY.uuid}`);
      const read = observations.map(({ primitive }: Body) => primitive);
      expect(read).toEqual(['motor.modality', 'motor.pause', 'motor.rhythm']);
    });

    test('is an identity without anybody, in a campaign that nobody has told of', async () => {
      const detail: Shape = { ...IDENTITY, observation_count_live: 'int' };
      expect(await page.get(`/identities/${LONELY}`, detail)).toMatchObject({
        campaign_id: UNTOLD_CAMPAIGN,
        observation_count: 0,
        observation_count_live: 0,
      });
      expect(await page.get(`/identities/${LONELY}/observations`, envelope(LISTED_ATTACKER))).toMatchObject({
        total: 0,
        data: [],
      });
      expect(await page.refused(`/campaigns/${UNTOLD_CAMPAIGN}`)).toBe(404);
      expect(await page.refused(`/campaigns/${UNTOLD_CAMPAIGN}/identities`)).toBe(404);
      await page.get('/campaigns', envelope(CAMPAIGN));
    });
  });
}
