import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { loadState, saveState, type TopologyState } from '../../../src/topology/state.ts';
import { ENGINES } from '../../support/database.ts';
import { lan } from '../ops/support.ts';
import { createWorld, NOW, type World } from './support.ts';

for (const engine of ENGINES) {
  describe(`the state of a topology (${engine})`, () => {
    let world: World;
    beforeAll(async () => {
      world = await createWorld(engine);
    });
    afterEach(() => world.clear());
    afterAll(() => world.dispose());

    const save = (before: TopologyState, after: TopologyState) =>
      world.db.transaction().execute((trx) => saveState(trx, before, after, NOW));
    const decky = (name: string) =>
      world.db.selectFrom('topology_deckies').selectAll().where('name', '=', name).executeTakeFirstOrThrow();

    test('is written as it is read, parts added, changed and removed', async () => {
      const before = await world.office();
      const after: TopologyState = {
        ...before,
        lans: [...before.lans.map((one) => ({ ...one, x: 7 })), lan('lab', '10.3.0.0/24')],
        deckies: before.deckies
          .filter(({ name }) => name !== 'web')
          .map((one) => ({ ...one, services: ['ftp'], decky_config: { ...one.decky_config, tag: [1, null] } })),
        edges: before.edges
          .filter(({ decky_uuid }) => decky_uuid !== 't1/uuid-web')
          .map((one) => ({ ...one, forwards_l3: 1 as const })),
      };
      await save(before, after);
      const stored = await world.state();
      expect(stored.lans.toSorted(byName)).toEqual(after.lans.toSorted(byName));
      expect(stored.edges).toEqual([...after.edges]);
      expect(stored.deckies.map(({ services, decky_config }) => ({ services, decky_config }))).toEqual(
        after.deckies.map(({ services, decky_config }) => ({ services, decky_config })),
      );
    });

    test('leaves alone what somebody else has written since, and marks only what it changes', async () => {
      const before = await world.office();
      const [web, desk] = [await decky('web'), await decky('desk')];
      const services = '["http"]';
      await world.db.updateTable('topology_deckies').set({ services, last_seen: 'now' }).execute();
      const moved = before.deckies.map((one) => (one.name === 'web' ? { ...one, x: 5 } : one));
      await world.db.transaction().execute((trx) => saveState(trx, before, { ...before, deckies: moved }, NOW + 1));
      const updated_at = new Date(NOW + 1).toISOString();
      expect(await decky('web')).toEqual({ ...web, services, last_seen: 'now', x: 5, updated_at });
      expect(await decky('desk')).toEqual({ ...desk, services, last_seen: 'now' });
    });

    test('gives a name that has become free to something new', async () => {
      const before = await world.office();
      const lab = lan('lab', '10.3.0.0/24', { name: 'office' });
      const after: TopologyState = { ...before, deckies: [], edges: [], lans: [before.lans[0] ?? lab, lab] };
      await save(before, after);
      expect((await world.state()).lans.toSorted(byName)).toEqual([...after.lans].toSorted(byName));
    });

    test('knows where a decky is whose row does not say it', async () => {
      await world.office();
      await world.db.updateTable('topology_deckies').set({ decky_config: null }).execute();
      const web = (await world.state()).deckies.find(({ name }) => name === 'web');
      expect(web?.decky_config).toEqual({ name: 'web', ips_by_lan: { dmz: '10.0.0.3' } });
    });

    test('of no topology', async () => {
      expect(await world.db.transaction().execute((trx) => loadState(trx, 'nowhere'))).toBeUndefined();
    });
  });
}

const byName = (one: { name: string }, other: { name: string }) => (one.name < other.name ? -1 : 1);
