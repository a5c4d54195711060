import { afterEach, describe, expect, test } from 'bun:test';
import { matcher } from '../../src/bus/topic.ts';
import { attackSession, campaignGrows } from '../../src/demo/attack-acts.ts';
import { formIdentity, linkObservation } from '../../src/demo/identity-acts.ts';
import { seedDemo } from '../../src/demo/seed.ts';
import { seedAttackers } from '../../src/demo/seed-attackers.ts';
import { attackerBehaviour, attackerScored } from '../../src/demo/sensor-acts.ts';
import type { DemoWorld } from '../../src/demo/world.ts';
import { rebuild } from '../../src/projection/rebuild.ts';
import { allProjections } from '../../src/projection/start.ts';
import { createStage, dump, type Stage } from '../projection/support.ts';
import { ENGINES } from '../support/database.ts';
import { seeded } from '../support/random.ts';

const LIMIT_MS = 60_000;

let stage: Stage;
afterEach(() => stage.stop());

for (const engine of ENGINES) {
  describe(`the demonstration (${engine})`, () => {
    test(
      'tells all that its read models show: a rebuild of each leaves every row as it was',
      async () => {
        stage = await createStage(engine);
        const { db } = stage.database;
        const { next: random } = seeded(17);
        await seedDemo(db, Date.now());
        await stage.publish(seedAttackers(Date.now()));
        await stage.node();
        await stage.caughtUp();
        const world: DemoWorld = {
          db,
          random,
          onCommitted() {},
          publish: (event) => stage.publish([event]),
        };
        const acts = [formIdentity, linkObservation, attackSession, campaignGrows, attackerScored, attackerBehaviour];
        for (let turn = 0; turn < 42; turn += 1) {
          await acts[turn % acts.length]?.(world);
          // What comes next goes on from what is known.
          if (turn % 7 === 0) await stage.caughtUp();
        }
        await stage.caughtUp();
        const identities = await db.selectFrom('attacker_identities').selectAll().execute();
        expect(identities.length).toBeGreaterThan(8);
        const attackers = await db.selectFrom('attackers').selectAll().execute();
        const bound = Map.groupBy(attackers, (row) => row.identity_id);
        for (const { uuid, observation_count } of identities) {
          expect(observation_count).toBeGreaterThan(0);
          expect(bound.get(uuid)).toHaveLength(observation_count);
        }
        const rows = await dump(db);
        const projections = allProjections(engine);
        for (const { name } of projections) {
          await rebuild(db, stage.history, projections, name);
          await stage.caughtUp();
          expect(await dump(db)).toEqual(rows);
        }
      },
      LIMIT_MS,
    );

    test(
      'links an observation without touching when its identity changed, and a second start tells nothing new',
      async () => {
        stage = await createStage(engine);
        const { db } = stage.database;
        const apply = async (...events: ReturnType<typeof seedAttackers>) => {
          for (const event of events) {
            for (const projection of allProjections(engine)) {
              if (!matcher(projection.topics)(event.topic)) continue;
              const logged = { ...event, epoch: 'e1', offsetIn: () => undefined };
              await db.transaction().execute((trx) => projection.apply(trx, [logged]));
            }
          }
        };
        const at = Date.now();
        expect(seedAttackers(at).map(({ id }) => id)).toEqual(seedAttackers(at + 1).map(({ id }) => id));
        await apply(...seedAttackers(at));
        const before = await db.selectFrom('attacker_identities').selectAll().execute();
        expect(before).toHaveLength(8);
        let told: Record<string, unknown> = {};
        await linkObservation({
          db,
          random: seeded(3).next,
          onCommitted() {},
          async publish(event) {
            told = event.payload;
            await apply(event);
          },
        });
        const earlier = before.find(({ uuid }) => uuid === told.identity_uuid);
        const later = await db
          .selectFrom('attacker_identities')
          .selectAll()
          .where('uuid', '=', String(told.identity_uuid))
          .executeTakeFirstOrThrow();
        expect(later.observation_count).toBe((earlier?.observation_count ?? 0) + 1);
        expect(later.updated_at).toBe(earlier?.updated_at ?? '');
      },
      LIMIT_MS,
    );
  });
}
