import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';
import { ATTACKER, envelope, IDENTITY } from './shape.ts';
import { BUSY, CAMPAIGN_UUID, IDENTITY_UUID, MERGED_IDENTITY, SECOND } from './story.ts';
import { LIMIT_MS, type Visit, visit } from './support.ts';

const DETAIL = { ...IDENTITY, observation_count_live: 'int' } as const;

for (const engine of ENGINES) {
  describe(`the pages of identities (${engine})`, () => {
    let page: Visit;
    beforeAll(async () => {
      page = await visit(engine);
    }, LIMIT_MS);
    afterAll(() => page.stop());

    const ipsOf = async (uuid: string) => {
      const { total, data } = await page.get(`/identities/${uuid}/observations?limit=50&offset=0`, envelope(ATTACKER));
      return { total, ips: data.map((row: { ip: string }) => row.ip).sort() };
    };

    test('list what a clusterer has told', async () => {
      const list = await page.get('/identities?limit=50&offset=0', envelope(IDENTITY));
      expect(list).toMatchObject({
        total: 1,
        data: [{ uuid: IDENTITY_UUID, campaign_id: CAMPAIGN_UUID, observation_count: 2 }],
      });
    });

    test('show one with the attackers of all that went into it', async () => {
      for (const uuid of [IDENTITY_UUID, MERGED_IDENTITY]) {
        const detail = await page.get(`/identities/${uuid}`, DETAIL);
        expect(detail).toMatchObject({ uuid: IDENTITY_UUID, observation_count: 2, observation_count_live: 2 });
        expect(await ipsOf(uuid)).toEqual({ total: 2, ips: [BUSY.ip, SECOND.ip] });
      }
    });

    test('tell them apart again when the clusterer does', async () => {
      const stream = await page.stream('/identities/events');
      await stream.untilFrames(1);
      expect(JSON.parse(stream.frames[0]?.data ?? '').identities).toHaveLength(1);
      await page.tell([
        ['identity.unmerged', 'unmerged', { resurrected_uuid: MERGED_IDENTITY, former_winner_uuid: IDENTITY_UUID }],
      ]);
      await until('the event', () => stream.named('unmerged').length === 1);
      expect((await page.get('/identities', envelope(IDENTITY))).total).toBe(2);
      expect(await page.get(`/identities/${IDENTITY_UUID}`, DETAIL)).toMatchObject({
        observation_count: 1,
        observation_count_live: 1,
      });
      expect(await ipsOf(MERGED_IDENTITY)).toEqual({ total: 1, ips: [SECOND.ip] });
    });

    test('say 404 for one that nobody has told of', async () => {
      expect(await page.refused('/identities/nobody')).toBe(404);
      expect(await page.refused('/identities/nobody/observations')).toBe(404);
    });
  });
}
