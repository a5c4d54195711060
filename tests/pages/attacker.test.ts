import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';
import { ATTACKER, envelope, LOG_LINE, type Shape } from './shape.ts';
import { BUSY, IDENTITY_UUID, SCANNER, SECOND } from './story.ts';
import { LIMIT_MS, type Visit, visit } from './support.ts';

const DETAIL: Shape = {
  ...ATTACKER,
  behavior: 'object?',
  service_activity: { interacted: 'texts', scanned: 'texts' },
  ip_leaks: 'list',
  ip_leaks_total: 'int',
  observations: [{ primitive: 'text', value: 'any', confidence: 'number', ts: 'seconds', source: 'text' }],
};
const LINES: Shape = { total: 'int', data: [LOG_LINE] };
const NOBODY = '/attackers/00000000-0000-4000-8000-000000000000';

for (const engine of ENGINES) {
  describe(`the page of an attacker (${engine})`, () => {
    let page: Visit;
    beforeAll(async () => {
      page = await visit(engine);
    }, LIMIT_MS);
    afterAll(() => page.stop());
    const path = `/attackers/${BUSY.uuid}`;

    test('opens with the attacker and all that belongs to him', async () => {
      const detail = await page.get(path, DETAIL);
      expect(detail).toMatchObject({
        uuid: BUSY.uuid,
        identity_id: IDENTITY_UUID,
        behavior: null,
        ip_leaks: [],
        ip_leaks_total: 0,
        service_activity: { interacted: ['smtp', 'ssh'], scanned: [] },
        observations: [
          { primitive: 'motor.modality', value: 'typed', confidence: 0.9, ts: 1_795_231_317.5, source: 'shell' },
        ],
      });
      const attribution = await page.get(`${path}/attribution`, {
        identity_uuid: 'text?',
        primitives: [
          {
            primitive: 'text',
            current_value: 'any',
            state: 'text',
            confidence: 'number',
            observation_count: 'int',
            last_change_ts: 'seconds',
            last_observation_ts: 'seconds',
          },
        ],
      });
      expect(attribution).toMatchObject({ identity_uuid: IDENTITY_UUID, primitives: [{ state: 'stable' }] });
      const commands = await page.get(
        `${path}/commands?limit=50&offset=0`,
        envelope({ service: 'text', decky: 'text', command: 'text', timestamp: 'time' }),
      );
      expect(commands).toMatchObject({ total: 3, limit: 50, offset: 0 });
      expect(commands.data[0].command).toBe('uname -a');
      const artifacts = await page.get(`${path}/artifacts`, LINES);
      expect(artifacts.total).toBe(1);
      expect(JSON.parse(artifacts.data[0].fields)).toMatchObject({ stored_as: 'f1', sha256: 'ab' });
      const targets = await page.get(`${path}/smtp-targets`, {
        total: 'int',
        data: [
          { id: 'text', attacker_uuid: 'text', domain: 'text', count: 'int', first_seen: 'time', last_seen: 'time' },
        ],
      });
      expect(targets.data.map((row: { domain: string; count: number }) => [row.domain, row.count])).toEqual([
        ['victim.example', 2],
        ['other.example', 1],
      ]);
      expect(await page.refused(`${path}/mail`)).toBe(403);
      expect((await page.get(`${path}/mail`, LINES, page.admin)).data[0]).toMatchObject({
        event_type: 'message_stored',
      });
      expect((await page.get(`${path}/transcripts`, LINES)).data[0]).toMatchObject({ event_type: 'session_recorded' });
      expect(await page.get(`${path}/intel`)).toMatchObject({ aggregate_verdict: 'malicious', abuseipdb_score: 97 });
      expect((await page.get(`${path}/export/stix`)).objects).toMatchObject([{ type: 'ipv4-addr', value: BUSY.ip }]);
      expect((await page.get(`${path}/export/misp`)).response).toHaveLength(1);
    });

    test('hears of him from the first', async () => {
      const stream = await page.stream(`${path}/events`);
      await stream.untilFrames(1);
      expect(JSON.parse(stream.frames[0]?.data ?? '')).toMatchObject({
        attacker_uuid: BUSY.uuid,
        observations: [{ primitive: 'motor.modality' }],
      });
      await page.tell([
        [
          'attacker.scored',
          'scored',
          {
            attacker_ip: BUSY.ip,
            event_count: 99,
            service_count: 2,
            decky_count: 2,
            bounty_count: 1,
            credential_count: 1,
            is_traversal: true,
          },
        ],
      ]);
      await until('the score', () => stream.named('attacker.scored').length === 1);
      expect((await page.get(path, DETAIL)).event_count).toBe(99);
    });

    test('of one of whom little is known shows what there is', async () => {
      const [row] = (await page.get(`/attackers?search=${SCANNER.ip}`)).data;
      const scanner = `/attackers/${row.uuid}`;
      expect(await page.get(scanner, DETAIL)).toMatchObject({
        identity_id: null,
        service_activity: { interacted: [], scanned: ['http'] },
        observations: [],
      });
      expect(await page.get(`${scanner}/attribution`)).toEqual({ identity_uuid: null, primitives: [] });
      expect(await page.get(`${scanner}/commands`)).toEqual({ total: 0, limit: 50, offset: 0, data: [] });
      for (const part of ['artifacts', 'transcripts', 'smtp-targets']) {
        expect(await page.get(`${scanner}/${part}`)).toEqual({ total: 0, data: [] });
      }
      expect(await page.refused(`${scanner}/intel`)).toBe(404);
    });

    test('is told no verdict that it would break at', async () => {
      expect((await page.get(`/attackers/${SECOND.uuid}/intel`)).aggregate_verdict).toBeNull();
    });

    test.each(['limit=0', 'limit=201', 'limit=x', 'offset=-1', 'offset=x', 'service=null'])(
      'never refuses %s of the commands: a dialog would stand in the way',
      async (query) => expect((await page.get(`${path}/commands?${query}`)).total).toBe(3),
    );

    test('finds the commands of a service', async () => {
      expect((await page.get(`${path}/commands?service=ssh&limit=2&offset=2`)).data).toHaveLength(1);
      expect((await page.get(`${path}/commands?service=telnet`)).total).toBe(0);
    });

    test('says 404 for one whom nobody has seen', async () => {
      for (const part of ['', '/attribution', '/commands', '/artifacts', '/smtp-targets', '/transcripts', '/intel']) {
        expect(await page.refused(`${NOBODY}${part}`)).toBe(404);
      }
      expect(await page.refused(`${NOBODY}/mail`, page.admin)).toBe(404);
      expect(await page.refused(`${NOBODY}/export/stix`)).toBe(404);
      expect(await page.refused('/attackers/%00')).toBe(404);
    });
  });
}
