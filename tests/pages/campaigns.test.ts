import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';
import { CAMPAIGN, envelope, IDENTITY } from './shape.ts';
import { CAMPAIGN_UUID, IDENTITY_UUID, MERGED_CAMPAIGN } from './story.ts';
import { LIMIT_MS, type Visit, visit } from './support.ts';

const LIST = envelope(CAMPAIGN);
const MEMBERS = envelope(IDENTITY);

for (const engine of ENGINES) {
  describe(`the pages of campaigns (${engine})`, () => {
    let page: Visit;
    beforeAll(async () => {
      page = await visit(engine);
    }, LIMIT_MS);
    afterAll(() => page.stop());

    test('list those that have not gone into another', async () => {
      const list = await page.get('/campaigns?limit=50&offset=0', LIST);
      expect(list).toMatchObject({ total: 1, limit: 50, offset: 0, data: [{ uuid: CAMPAIGN_UUID, confidence: null }] });
      expect(await page.get('/campaigns?limit=1&offset=1', LIST)).toMatchObject({ total: 1, data: [] });
    });

    test('show one with its identities; of one that was merged, the winner', async () => {
      for (const uuid of [CAMPAIGN_UUID, MERGED_CAMPAIGN]) {
        const detail = await page.get(`/campaigns/${uuid}`, { ...CAMPAIGN, identity_count_live: 'int' });
        expect(detail).toMatchObject({ uuid: CAMPAIGN_UUID, identity_count_live: 1, merged_into_uuid: null });
        const members = await page.get(`/campaigns/${uuid}/identities?limit=50&offset=0`, MEMBERS);
        // The other member has been merged into this one.
        expect(members).toMatchObject({ total: 1, data: [{ uuid: IDENTITY_UUID, campaign_id: CAMPAIGN_UUID }] });
      }
    });

    test('hear of another one, and find it', async () => {
      const stream = await page.stream('/campaigns/events');
      await stream.untilFrames(1);
      expect(JSON.parse(stream.frames[0]?.data ?? '').campaigns).toHaveLength(1);
      await page.tell([['campaign.formed', 'formed', { campaign_uuid: 'another', identity_uuids: ['unknown'] }]]);
      await until('the event', () => stream.named('formed').length === 1);
      expect((await page.get('/campaigns', LIST)).data[0]).toMatchObject({ uuid: 'another', identity_count: 1 });
      expect((await page.get('/campaigns/another/identities', MEMBERS)).total).toBe(0);
    });

    test('refuse what cannot be', async () => {
      expect(await page.refused('/campaigns/nobody')).toBe(404);
      expect(await page.refused('/campaigns/nobody/identities')).toBe(404);
      expect(await page.refused('/campaigns/%00')).toBe(404);
      for (const query of ['limit=0', 'limit=1001', 'offset=-1']) {
        expect(await page.refused(`/campaigns?${query}`)).toBe(422);
        expect(await page.refused(`/campaigns/${CAMPAIGN_UUID}/identities?${query}`)).toBe(422);
      }
    });
  });
}
