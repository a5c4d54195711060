import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { Json } from '../../src/bus/event.ts';
import { personaOf } from '../../src/topology/personas.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';
import { type Rest, restOf } from './rest.ts';
import { asViewer, insertTopology } from './support.ts';

const ANNA = { name: 'Anna', email: 'anna@office.example', role: 'Clerk' };
const WHOLE = {
  ...ANNA,
  tone: 'formal',
  tone_custom: null,
  mannerisms: [],
  language: 'en',
  signature: null,
  active_hours: '09:00-18:00',
  reply_latency: 'normal',
  uses_llms_heavily: false,
} as const;

describe('a persona', () => {
  test('has everything that an entry leaves out, and nothing that nobody knows', () => {
    expect(personaOf({ ...ANNA, colour: 'red', language: null }, 'de')).toEqual({ ...WHOLE, language: 'de' });
    const own = { tone: 'custom', tone_custom: 'gruff', mannerisms: ['btw'], language: 'fr', uses_llms_heavily: 'yes' };
    expect(personaOf({ ...ANNA, ...own }, 'en')).toEqual({ ...WHOLE, ...own, uses_llms_heavily: true } as never);
  });

  test.each<[string, Json]>([
    ['no object', 'Anna'],
    ['no name', { ...ANNA, name: undefined }],
    ['an empty name', { ...ANNA, name: '' }],
    ['a long name', { ...ANNA, name: 'x'.repeat(129) }],
    ['no role', { ...ANNA, role: null }],
    ['an address without @', { ...ANNA, email: 'office.example' }],
    ['an address without a name', { ...ANNA, email: '@office.example' }],
    ['an address without a dot', { ...ANNA, email: 'anna@office' }],
    ['an unknown tone', { ...ANNA, tone: 'rude' }],
    ['a tone of its own that is not said', { ...ANNA, tone: 'custom', tone_custom: '  ' }],
    ['too many mannerisms', { ...ANNA, mannerisms: Array.from({ length: 13 }, () => 'x') }],
    ['a mannerism that is no text', { ...ANNA, mannerisms: [1] }],
    ['a long language', { ...ANNA, language: 'x'.repeat(9) }],
    ['hours that are null', { ...ANNA, active_hours: null }],
    ['an unknown latency', { ...ANNA, reply_latency: 'never' }],
    ['neither yes nor no', { ...ANNA, uses_llms_heavily: 'perhaps' }],
  ])('is not %s', (_, entry) => {
    expect(personaOf(entry, 'en')).toBeUndefined();
  });
});

for (const engine of ENGINES) {
  describe(`personas of a topology (${engine})`, () => {
    let database: TestDatabase;
    let rest: Rest;
    beforeEach(async () => {
      database = await createTestDatabase(engine);
      rest = restOf(database.db);
      await insertTopology(database.db, 't1', { status: 'torn_down' });
    });
    afterEach(() => database.dispose());

    const PATH = '/topologies/t1/personas';
    const shown = (personas: readonly object[]) => ({
      status: 200,
      body: { topology_id: 't1', topology_name: 'name of t1', language_default: 'en', personas },
    });

    test('are shown, replaced and cleared, whatever the status and without a new version', async () => {
      expect(await rest.call('GET', PATH, undefined, asViewer)).toEqual(shown([]) as never);
      const put = await rest.call('PUT', PATH, { personas: [ANNA, { name: 'nobody' }] });
      expect(put).toEqual(shown([WHOLE]) as never);
      expect(await rest.call('GET', PATH)).toEqual(put);
      const { body } = await rest.call('GET', '/topologies/t1');
      expect(body.topology).toMatchObject({ version: 1, email_personas: JSON.stringify([WHOLE]) });
      expect(await rest.call('PUT', PATH, { personas: [] })).toEqual(shown([]) as never);
    });

    test.each<[string, string, unknown, number]>([
      ['no object', PATH, [], 422],
      ['no list', PATH, { personas: 'x' }, 400],
      ['nothing', PATH, {}, 400],
      ['no such topology', '/topologies/none/personas', { personas: [] }, 404],
      ['no such topology, and no list', '/topologies/none/personas', {}, 400],
      ['personas of which none is one', PATH, { personas: [{ name: 'x' }, 7] }, 400],
    ])('%s is refused and nothing changes', async (_, path, body, status) => {
      await rest.call('PUT', PATH, { personas: [ANNA] });
      expect((await rest.call('PUT', path, body)).status).toBe(status);
      expect(await rest.call('GET', PATH)).toEqual(shown([WHOLE]) as never);
    });

    test('are for administrators to change', async () => {
      expect((await rest.call('PUT', PATH, { personas: [] }, asViewer)).status).toBe(403);
      expect((await rest.call('GET', '/topologies/none/personas')).status).toBe(404);
    });
  });
}
