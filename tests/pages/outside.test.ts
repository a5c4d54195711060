import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import { IDENTITY_UUID } from './story.ts';
import { LIMIT_MS, type Visit, visit } from './support.ts';

const page50 = { total: 0, limit: 50, offset: 0, data: [] };
const ID = '00000000-0000-4000-8000-000000000000';

/** What the pages outside of the live plane ask for (contract P8, P9), and the smallest answer at which none goes blank. */
const NOTHING: readonly [path: string, answer: unknown][] = [
  ['/bounty?limit=50&offset=0', page50],
  ['/credentials?limit=50&offset=0', page50],
  ['/credential-reuse?limit=50&offset=0&min_target_count=2', page50],
  ['/canary/tokens', { tokens: [], total: 0 }],
  ['/canary/blobs', { blobs: [], total: 0 }],
  ['/realism/personas', { path: '', personas: [] }],
  ['/realism/synthetic-files?limit=50&offset=0', page50],
  ['/swarm/hosts', []],
  ['/swarm/deckies', []],
  ['/swarm-updates/hosts', { hosts: [] }],
  ['/ttp/rules', []],
  [`/ttp/by-identity/${IDENTITY_UUID}`, []],
  [`/ttp/by-attacker/${ID}`, []],
  ['/webhooks/', []],
];
const MISSING = [
  `/realism/synthetic-files/${ID}`,
  `/credential-reuse/${ID}`,
  `/canary/tokens/${ID}/triggers?limit=100`,
  '/transcripts/web-front/s1?offset=0&limit=500',
];
const WRITES: readonly [method: string, path: string][] = [
  ['POST', '/canary/tokens'],
  ['POST', '/deckies/files'],
  ['DELETE', '/deckies/files'],
  ['POST', '/swarm/enroll-bundle'],
  ['POST', `/swarm/hosts/${ID}/teardown`],
  ['DELETE', `/swarm/hosts/${ID}`],
  ['POST', '/swarm-updates/push'],
  ['POST', '/swarm-updates/push-self'],
  ['POST', '/swarm-updates/rollback'],
  ['PUT', '/realism/personas'],
  ['PUT', '/realism/config'],
  ['PUT', '/realism/llm'],
  ['POST', '/ttp/rules/R1/state'],
  ['DELETE', '/ttp/rules/R1/state'],
];

for (const engine of ENGINES) {
  describe(`pages outside of the live plane (${engine})`, () => {
    let page: Visit;
    beforeAll(async () => {
      page = await visit(engine, []);
    }, LIMIT_MS);
    afterAll(() => page.stop());

    test('find nothing, in the shape that they draw', async () => {
      for (const [path, answer] of NOTHING)
        expect([path, await page.get(path, undefined, page.admin)]).toEqual([path, answer]);
      await page.get('/realism/config', {
        user_class_weights: 'list',
        system_class_weights: 'list',
        canary_class_weights: 'list',
        canary_probability: 'number',
      });
      for (const path of MISSING) expect([path, await page.refused(path)]).toEqual([path, 404]);
    });

    test('are refused what they would change, in words', async () => {
      for (const [method, path] of WRITES) {
        const body = method === 'DELETE' ? {} : { body: {} };
        expect([path, await page.refused(path, page.viewer, { method, ...body })]).toEqual([path, 403]);
        expect([path, await page.refused(path, page.admin, { method, ...body })]).toEqual([path, 501]);
      }
    });
  });
}
