import { afterEach, describe, expect, test } from 'bun:test';
import { sql } from 'kysely';
import { listAttackers } from '../../src/attackers/attacker-list.ts';
import { createEvent, type Event, type JsonObject } from '../../src/bus/event.ts';
import type { Database } from '../../src/db/schema.ts';
import { type Keep, type Limits, limitsOf } from '../../src/projection/keep.ts';
import { forgetSetAside } from '../../src/projection/places.ts';
import { rebuild } from '../../src/projection/rebuild.ts';
import { Retention } from '../../src/projection/retention.ts';
import { allProjections } from '../../src/projection/start.ts';
import { Turns } from '../../src/projection/turns.ts';
import { ENGINES } from '../support/database.ts';
import { seeded } from '../support/random.ts';
import { createStage, dump, KEEP_ALL, type Stage } from './support.ts';

const LIMIT_MS = 120_000;
const START_MS = Date.parse('2026-11-21T08:00:00.000Z');
const LIMITS = limitsOf({ lines: 1e6, commands: 1e6, actions: 1e6, attackers: 12, identities: 9, campaigns: 5 });
const KEEP: Keep = { rows: LIMITS, maxAgeMs: 0 };

/** Where the rows of a roster are, and by what. */
const LISTED = {
  attackers: ['attackers', 'ip'],
  identities: ['attacker_identities', 'uuid'],
  linked: ['identity_observations', 'observation_uuid'],
  campaigns: ['campaigns', 'uuid'],
  members: ['campaign_members', 'identity_uuid'],
  attributed: ['attributions', 'identity_uuid'],
} as const satisfies Partial<Record<keyof Limits, readonly [keyof Database, string]>>;

let stage: Stage;
afterEach(() => stage.stop());

/** Many attackers, identities and campaigns that come, go and come back. */
function crowd(count: number, { next, between }: ReturnType<typeof seeded>): Event[] {
  const ip = () => `192.0.2.${between(1, 40)}`;
  const some = (letter: string, most: number) => `${letter}${between(1, most)}`;
  return Array.from({ length: count }, (_, n) => {
    const make = (topic: string, payload: JsonObject) =>
      createEvent(topic, topic.split('.').slice(1).join('.'), payload, `crowd-${n}`, START_MS + n * 1000);
    const attacker_ip = ip();
    const named = next() < 0.4 ? { attacker_uuid: `a-${attacker_ip}-${between(1, 3)}` } : {};
    switch (between(0, 11)) {
      case 0:
        return make('attacker.session.ended', {
          ...{ attacker_ip, ...named, service: 'ssh' },
          commands: Array.from({ length: between(1, 4) }, (_, index) => ({ command_text: `${n} ${index}` })),
        });
      case 1:
        return make('attacker.observation.motor', { attacker_uuid: some('a', 60), value: n, ts: n });
      case 2:
        return make('attacker.intel.enriched', { attacker_ip, ...named, aggregate_verdict: 'benign' });
      case 3:
        return make('email.received', { attacker_ip, rcpt_domains: [`${some('d', 9)}.example`] });
      case 4:
        return make('attribution.profile.state_changed', {
          ...{ identity_uuid: some('i', 30), primitive: some('p', 3), new_state: 'stable' },
        });
      case 5:
        return make('identity.formed', {
          ...{ identity_uuid: some('i', 30), observation_uuids: [some('a', 60), `a-${ip()}-1`] },
        });
      case 6:
        return make('identity.merged', { winner_uuid: some('i', 30), loser_uuid: some('i', 30) });
      case 7:
        return make('campaign.formed', {
          campaign_uuid: some('c', 15),
          identity_uuids: [some('i', 30), some('i', 30)],
        });
      case 8:
        return make('campaign.merged', { winner_uuid: some('c', 15), loser_uuid: some('c', 15) });
      default:
        return make('system.log', { ...named, attacker_ip, decky: some('decky-', 5), service: 'ssh' });
    }
  });
}

const all = async (table: keyof Database) => {
  const rows = await sql<Record<string, unknown>>`select * from ${sql.table(table)}`.execute(stage.database.db);
  return rows.rows;
};
const counter = async (name: string) => (await all('counters')).find((row) => row.name === name)?.value ?? 0;

/** Everything is within its limit, counted right, and about something that is there. */
async function expectSound(limits: Limits): Promise<void> {
  for (const [roster, [table, column]] of Object.entries(LISTED)) {
    const keys = new Set((await all(table)).map((row) => row[column]));
    expect(keys.size).toBeGreaterThan(2);
    expect(keys.size).toBeLessThanOrEqual(limits[roster as keyof typeof LISTED]);
    const enrolled = (await all('rosters')).filter((row) => row.roster === roster).map(({ key }) => key);
    expect(enrolled.sort()).toEqual([...keys].sort());
    expect(Number(await counter(`roster:${roster}`))).toBe(keys.size);
  }
  const ips = new Set((await all('attackers')).map(({ ip }) => ip));
  for (const table of ['attacker_commands', 'attacker_services', 'attacker_smtp_targets'] as const) {
    expect((await all(table)).filter(({ ip }) => !ips.has(ip))).toEqual([]);
  }
  const names = await all('attacker_uuids');
  expect(names.filter(({ ip }) => ip !== null && !ips.has(ip))).toEqual([]);
  const enrolled = new Set(
    (await all('rosters')).filter((row) => row.roster === 'attacker_uuids').map(({ key }) => key),
  );
  expect(enrolled.size).toBeLessThanOrEqual(limits.attacker_uuids);
  for (const table of ['observations', 'attacker_intel'] as const) {
    expect((await all(table)).filter(({ attacker_uuid }) => !enrolled.has(attacker_uuid))).toEqual([]);
  }
  expect(Number(await counter('attacker_commands'))).toBe((await all('attacker_commands')).length);
  const members = await all('campaign_members');
  for (const { uuid, identity_count } of await all('campaigns')) {
    expect(identity_count).toBe(members.filter(({ campaign_uuid }) => campaign_uuid === uuid).length);
  }
}

for (const engine of ENGINES) {
  describe(`read models that events go on changing (${engine})`, () => {
    test(
      'stay within their limits, with all parts, and follow from the log alone, however it is cut into transactions',
      async () => {
        stage = await createStage(engine);
        const { db } = stage.database;
        const events = crowd(500, seeded(41));
        await stage.node({ keep: KEEP });
        // A few at a time; those who count again have them all at once.
        for (let first = 0; first < 70; first += 7) {
          await stage.publish(events.slice(first, first + 7));
          await stage.caughtUp();
        }
        await stage.publish(events.slice(70));
        await stage.caughtUp();
        await expectSound(LIMITS);
        expect(await db.selectFrom('projection_set_aside').selectAll().execute()).toEqual([]);
        const rows = await dump(db);
        expect(await stage.recount(KEEP)).toEqual(rows);
        for (const { name } of allProjections(engine, LIMITS)) {
          await rebuild(db, stage.history, allProjections(engine, LIMITS), name);
        }
        await stage.caughtUp();
        expect(await dump(db)).toEqual(rows);
        // Who has gone is found no more, by a part of his address either.
        const found = await listAttackers(db, engine, {
          ...{ limit: 50, offset: 0, sortBy: 'recent', search: '192.0.2', service: undefined },
        });
        expect(found.total).toBe(12);
        if (engine === 'sqlite') {
          const addresses = await sql`select * from attacker_addresses`.execute(db);
          expect(addresses.rows).toHaveLength(12);
        }
      },
      LIMIT_MS,
    );

    test(
      'shrink bit by bit when a limit is lower than it was',
      async () => {
        stage = await createStage(engine);
        const { db } = stage.database;
        const node = await stage.node({ keep: KEEP_ALL });
        await stage.publish(crowd(500, seeded(43)));
        await stage.caughtUp();
        await node.stop();
        expect((await all('attackers')).length).toBeGreaterThan(30);
        const turns = new Turns(engine, true);
        for (const projection of allProjections(engine, LIMITS)) {
          const trimming = new Retention(projection, { db, engine, keep: KEEP });
          while (await trimming.run(turns, () => false));
        }
        await expectSound(LIMITS);
      },
      LIMIT_MS,
    );

    test(
      'who has typed very much leaves in pieces, and nothing of it comes back with him',
      async () => {
        stage = await createStage(engine);
        const { db } = stage.database;
        const [, attackers] = allProjections(engine, { ...LIMITS, attackers: 1 });
        if (attackers === undefined) throw new Error('no attackers');
        const apply = (topic: string, payload: JsonObject, id = crypto.randomUUID()) =>
          db.transaction().execute(async (trx) => {
            const event = { ...createEvent(topic, '', payload, id), epoch: 'e1', offsetIn: () => 1 };
            return attackers.apply(trx, [event]);
          });
        const commands = Array.from({ length: 900 }, (_, n) => ({ command_text: `command ${n}` }));
        await db
          .insertInto('projections')
          .values({ name: 'attackers', version: 1, epoch: '', log_offset: 0, proof: '0' })
          .execute();
        for (let session = 0; session < 2; session += 1) {
          await apply('attacker.session.ended', { attacker_ip: '192.0.2.1', commands });
        }
        await apply('attacker.scored', { attacker_ip: '192.0.2.2' });
        expect((await all('attackers')).map(({ ip }) => ip)).toEqual(['192.0.2.2']);
        expect(await all('attacker_commands')).toHaveLength(1300);
        expect(await all('attackers_leaving')).toHaveLength(1);
        const keep = { ...KEEP, rows: { ...LIMITS, attackers: 1 } };
        await new Retention(attackers, { db, engine, keep }).run(new Turns(engine, true), () => false);
        expect(await all('attacker_commands')).toEqual([]);
        expect(await all('attackers_leaving')).toEqual([]);

        // He comes back before anybody has looked after it.
        await apply('attacker.session.ended', { attacker_ip: '192.0.2.2', commands });
        await apply('attacker.scored', { attacker_ip: '192.0.2.3' });
        expect((await all('attacker_commands')).length).toBe(400);
        await apply('attacker.session.ended', { attacker_ip: '192.0.2.2', commands: [{ command_text: 'id' }] });
        expect((await all('attacker_commands')).map(({ command }) => command)).toEqual(['id']);
        expect(Number(await counter('attacker_commands'))).toBe(1);
      },
      LIMIT_MS,
    );

    test(
      'of events set aside the newest are kept, of each projection',
      async () => {
        stage = await createStage(engine);
        const { db } = stage.database;
        const rows = Array.from({ length: 1200 }, (_, n) => ({
          ...{ projection: n < 1100 ? 'logs' : 'campaigns', event_id: `event-${n}`, epoch: 'e1', log_offset: n },
          ...{ topic: 'x', error: 'y', set_aside_at: new Date(START_MS + n).toISOString() },
        }));
        await db.insertInto('projection_set_aside').values(rows).execute();
        await db.transaction().execute((trx) => forgetSetAside(trx, 'logs'));
        const left = (await all('projection_set_aside')).map(({ event_id }) => event_id);
        expect(left.toSorted()).toEqual(
          rows
            .slice(100)
            .map(({ event_id }) => event_id)
            .toSorted(),
        );
      },
      LIMIT_MS,
    );
  });
}
