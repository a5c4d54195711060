import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import { envelope, LISTED_ATTACKER } from './shape.ts';
import { BUSY, SCANNER, SECOND } from './story.ts';
import { LIMIT_MS, type Visit, visit } from './support.ts';

const LIST = envelope(LISTED_ATTACKER);

for (const engine of ENGINES) {
  describe(`the page of attackers (${engine})`, () => {
    let page: Visit;
    beforeAll(async () => {
      page = await visit(engine);
    }, LIMIT_MS);
    afterAll(() => page.stop());

    const ipsOf = async (query: string) => {
      const { total, data } = await page.get(`/attackers?${query}`, LIST);
      return { total, ips: data.map((row: { ip: string }) => row.ip) };
    };

    test('opens with all of them, last seen first, every list there', async () => {
      const body = await page.get('/attackers?limit=50&offset=0&sort_by=recent', LIST);
      expect(body).toMatchObject({ total: 3, limit: 50, offset: 0 });
      expect(body.data[2]).toMatchObject({ ip: SCANNER.ip, behavior: null, commands: [], services: ['http', 'ftp'] });
      const busy = body.data.find((row: { ip: string }) => row.ip === BUSY.ip);
      expect(busy).toMatchObject({
        uuid: BUSY.uuid,
        event_count: 6,
        services: ['ssh', 'smtp'],
        deckies: ['web-front', 'mail-relay'],
        traversal_path: 'web-front → mail-relay',
        is_traversal: true,
        credential_count: 1,
        rotation_count: 2,
        last_ipv6_link_local: 'fe80::1',
      });
      expect(busy.commands).toHaveLength(3);
      expect(busy.fingerprints[0].payload).toMatchObject({ fingerprint_type: 'hassh_server', hash: 'aa' });
    });

    test('sorts, searches and filters; what means no filter filters nothing', async () => {
      expect((await ipsOf('sort_by=active')).ips[0]).toBe(BUSY.ip);
      expect((await ipsOf('sort_by=traversals')).ips[0]).toBe(BUSY.ip);
      expect(await ipsOf('search=.51.100')).toEqual({ total: 1, ips: [SECOND.ip] });
      expect(await ipsOf('search=%25')).toEqual({ total: 0, ips: [] });
      expect(await ipsOf('search=_')).toEqual({ total: 0, ips: [] });
      expect((await ipsOf('search=2.')).total).toBe(1);
      expect((await ipsOf('service=ssh')).ips.sort()).toEqual([BUSY.ip, SECOND.ip]);
      expect(await ipsOf('service=ss')).toEqual({ total: 0, ips: [] });
      expect(await ipsOf('service=ssh&search=192.0.2&sort_by=active')).toEqual({ total: 1, ips: [BUSY.ip] });
      for (const none of ['', 'null', 'NULL', 'undefined']) {
        expect((await ipsOf(`search=${none}&service=${none}`)).total).toBe(3);
      }
    });

    test('turns pages without a row twice or none', async () => {
      const first = await ipsOf('limit=2&offset=0');
      const second = await ipsOf('limit=2&offset=2');
      expect(new Set([...first.ips, ...second.ips]).size).toBe(3);
      expect(await ipsOf('limit=2&offset=2147483647')).toEqual({ total: 3, ips: [] });
    });

    test.each(['limit=0', 'limit=1001', 'offset=-1', 'offset=2147483648', 'limit=x', 'sort_by=name'])(
      'refuses %s',
      async (query) => expect(await page.refused(`/attackers?${query}`)).toBe(422),
    );

    test('is exported whole', async () => {
      const stix = await page.get('/attackers/export/stix');
      expect(stix).toMatchObject({ type: 'bundle', id: expect.stringMatching(/^bundle--[0-9a-f-]{36}$/) });
      expect(stix.objects).toHaveLength(3);
      expect((await page.get('/attackers/export/misp')).response).toHaveLength(3);
    });
  });
}
