import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { carryOut } from '../../../src/substrate/substrate.ts';
import { substrateActions } from '../../../src/topology/ops/substrate-actions.ts';
import type { TopologyState } from '../../../src/topology/state.ts';
import { ENGINES } from '../../support/database.ts';
import { openFence } from '../../support/fence.ts';
import { until } from '../../support/until.ts';
import { fileSubstrate, runningIn } from './file-substrate.ts';
import { createWorld, type World } from './support.ts';

const PROGRAM = join(import.meta.dir, 'dying-mutator.ts');
const TIMEOUT_MS = 120_000;
/** Processes at a time. */
const LANES = 3;

for (const engine of ENGINES) {
  describe(`a mutator that is killed (${engine})`, () => {
    let world: World;
    let folder: string;
    beforeAll(async () => {
      world = await createWorld(engine);
    });
    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'decnet-substrate-'));
    });
    afterEach(async () => {
      await world.clear();
      await rm(folder, { recursive: true });
    });
    afterAll(() => world.dispose());

    const run = async (topologyId: string, step: number) => {
      const child = Bun.spawn([process.execPath, PROGRAM, world.url, folder, topologyId, String(step)], {
        stdout: 'pipe',
        stderr: 'inherit',
      });
      const said = await child.stdout.text();
      await child.exited;
      return { said, signal: child.signalCode };
    };
    /** A degraded topology that runs, with a mutation queued that takes three changes of the substrate. */
    const prepare = async (id: string) => {
      await world.office(id);
      await world.enqueue('remove_decky', { decky: 'desk' }, id);
      await world.enqueue('attach_decky', { decky: 'web', lan: 'office' }, id);
      await world.applyNext({}, id);
      await world.applyNext({}, id);
      const state = await world.state(id);
      await carryOut(
        fileSubstrate(folder),
        substrateActions({ ...state, lans: [], deckies: [], edges: [] }, state),
        openFence(),
      );
      await world.db.deleteFrom('topology_mutations').where('topology_id', '=', id).execute();
      await world.db.updateTable('topologies').set({ status: 'degraded' }).where('id', '=', id).execute();
      await world.enqueue('remove_lan', { name: 'office' }, id);
    };
    const runs = (state: TopologyState) =>
      substrateActions({ ...state, lans: [], deckies: [], edges: [] }, state)
        .map((action) => JSON.stringify('network' in action ? action.network : action.decky))
        .sort();

    test(
      'anywhere between claim and end: another one applies the mutation once and wholly',
      async () => {
        await prepare('t0');
        const whole = await run('t0', Number.POSITIVE_INFINITY);
        expect(whole.signal).toBeNull();
        const steps = Number(whole.said);
        expect(steps).toBeGreaterThan(30);
        const done = await world.state('t0');
        expect(done.lans.map(({ name }) => name)).toEqual(['dmz']);

        const all = Array.from({ length: steps }, (_, index) => ({ step: index + 1, id: `t${index + 1}` }));
        for (const { id } of all) await prepare(id);
        await world.db.deleteFrom('outbox').execute();
        const waiting = [...all];
        const lane = async () => {
          for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
            expect(await run(next.id, next.step)).toEqual({ said: '', signal: 'SIGKILL' });
          }
        };
        await Promise.all(Array.from({ length: LANES }, lane));

        // An hour later every claim of the dead has ended.
        world.mutator({ substrate: fileSubstrate(folder), now: () => Date.now() + 3_600_000 });
        const attempts: number[] = [];
        for (const { step, id } of all) {
          const [row] = await until(`the mutation killed at step ${step}`, async () => {
            const rows = await world.mutations(id);
            return rows.every(({ state }) => state !== 'pending' && state !== 'applying') && rows;
          });
          attempts.push(row?.attempts ?? 0);
          expect({ step, state: row?.state, reason: row?.reason }).toEqual({ step, state: 'applied', reason: null });
          expect(withId(await world.state(id), 't0')).toEqual(withId(done, 't0'));
          expect(runningIn(folder, id)).toEqual(runs(await world.state(id)));
          expect({ step, told: (await world.events(id)).map(({ name }) => name) }).toEqual({
            step,
            told: ['mutation.applying', 'mutation.applied', 'status'],
          });
        }
        // Killed before its claim was committed, in the middle, and after the end.
        expect(new Set(attempts)).toEqual(new Set([1, 2]));
      },
      TIMEOUT_MS,
    );
  });
}

/** The state without what differs from one topology to the next. */
function withId(state: TopologyState, id: string): unknown {
  const own = `${state.topology.id}/`;
  return JSON.parse(
    JSON.stringify({ ...state, topology: { ...state.topology, id } }, (key, value: unknown) => {
      if (['topology_id', 'updated_at'].includes(key)) return undefined;
      if (typeof value !== 'string') return value;
      // Ids that the mutations before made are the mutations' own.
      if (['id', 'uuid', 'lan_id', 'decky_uuid'].includes(key) && !value.startsWith(own)) return undefined;
      return value.startsWith(own) ? `${id}/${value.slice(own.length)}` : value;
    }),
  );
}
