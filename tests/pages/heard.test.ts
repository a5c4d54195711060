import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';
import { IDENTITY_UUID, SCANNER } from './story.ts';
import { LIMIT_MS, type Visit, visit } from './support.ts';

/**
 * Pages read their rows again as soon as they hear of an event, once. Rows are made of events, so they come later: a page
 * that was given what is there at that moment would show what was before the event until the next one comes.
 */
for (const engine of ENGINES) {
  describe(`what a page reads when it hears of an event (${engine})`, () => {
    let page: Visit;
    beforeAll(async () => {
      page = await visit(engine);
    }, LIMIT_MS);
    afterAll(() => page.stop());

    test('are campaigns as they are after it', async () => {
      const stream = await page.stream('/campaigns/events');
      await stream.untilFrames(1);
      for (const campaign_uuid of ['heard-1', 'heard-2', 'heard-3']) {
        const heard = stream.named('formed').length;
        await page.publish([['campaign.formed', 'formed', { campaign_uuid, identity_uuids: [IDENTITY_UUID] }]]);
        await until('the event', () => stream.named('formed').length > heard);
        const [list, detail, members] = await Promise.all([
          page.get('/campaigns?limit=50&offset=0'),
          page.get(`/campaigns/${campaign_uuid}`),
          page.get(`/campaigns/${campaign_uuid}/identities?limit=50&offset=0`),
        ]);
        expect(list.data[0].uuid).toBe(campaign_uuid);
        expect(detail).toMatchObject({ uuid: campaign_uuid, identity_count: 1, identity_count_live: 1 });
        expect(members.data).toMatchObject([{ uuid: IDENTITY_UUID, campaign_id: campaign_uuid }]);
      }
    });

    test('are identities and their attackers as they are after it', async () => {
      const stream = await page.stream('/identities/events');
      await stream.untilFrames(1);
      const { uuid } = (await page.get(`/attackers?search=${SCANNER.ip}`)).data[0];
      for (const identity_uuid of ['heard-1', 'heard-2', 'heard-3']) {
        const heard = stream.named('formed').length;
        await page.publish([['identity.formed', 'formed', { identity_uuid, observation_uuids: [uuid] }]]);
        await until('the event', () => stream.named('formed').length > heard);
        const [list, detail, observations, attacker] = await Promise.all([
          page.get('/identities?limit=50&offset=0'),
          page.get(`/identities/${identity_uuid}`),
          page.get(`/identities/${identity_uuid}/observations?limit=50&offset=0`),
          page.get(`/attackers/${uuid}`),
        ]);
        expect(list.data[0].uuid).toBe(identity_uuid);
        expect(detail).toMatchObject({ observation_count: 1, observation_count_live: 1 });
        expect(observations.data).toMatchObject([{ ip: SCANNER.ip }]);
        expect(attacker.identity_id).toBe(identity_uuid);
      }
    });
  });
}
