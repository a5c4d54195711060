import type { Db, Engine, Trx } from '../db/database.ts';
import { addToCounters } from '../projection/counters.ts';
import type { Limits } from '../projection/keep.ts';
import { type KeptRows, keptRoster } from '../projection/retention.ts';
import { Roster, strike } from '../projection/roster.ts';

/** Commands that go together with their attacker; the others follow before anything else is applied. */
const AT_ONCE = 500;

/** Removes what is known of attackers by what producers call them. */
export async function removeUuids(trx: Trx, uuids: readonly string[]): Promise<void> {
  if (uuids.length === 0) return;
  await trx.deleteFrom('attacker_uuids').where('uuid', 'in', uuids).execute();
  await trx.deleteFrom('observations').where('attacker_uuid', 'in', uuids).execute();
  await trx.deleteFrom('attacker_intel').where('attacker_uuid', 'in', uuids).execute();
}

/**
 * Removes an attacker with all parts of him. Who has typed very much leaves some of it behind, for {@link removeLeft}.
 * @returns what producers called him, for the roster
 */
export async function removeAttacker(trx: Trx, ip: string): Promise<string[]> {
  const named = await trx.selectFrom('attacker_uuids').select('uuid').where('ip', '=', ip).execute();
  const uuids = named.map(({ uuid }) => uuid);
  await removeUuids(trx, uuids);
  await trx.deleteFrom('attackers').where('ip', '=', ip).execute();
  await trx.deleteFrom('attacker_services').where('ip', '=', ip).execute();
  await trx.deleteFrom('attacker_smtp_targets').where('ip', '=', ip).execute();
  if ((await removeCommands(trx, ip, AT_ONCE)) === AT_ONCE) {
    await trx
      .insertInto('attackers_leaving')
      .values({ ip })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
  return uuids;
}

/** Of these addresses, those of attackers who are gone and of whom something is left. */
export async function leavingOf(trx: Trx, ips: readonly string[]): Promise<Set<string>> {
  if (ips.length === 0) return new Set();
  const rows = await trx.selectFrom('attackers_leaving').select('ip').where('ip', 'in', ips).execute();
  return new Set(rows.map(({ ip }) => ip));
}

/** Removes all that is left of an attacker: he is back, and what he did before is not his any more. */
export async function removeAllLeft(trx: Trx, ip: string): Promise<void> {
  while ((await removeCommands(trx, ip, AT_ONCE)) > 0);
  await trx.deleteFrom('attackers_leaving').where('ip', '=', ip).execute();
}

/** Whether attackers who are gone have left anything behind. */
export async function isAnyLeft(db: Db): Promise<boolean> {
  return (await db.selectFrom('attackers_leaving').select('ip').limit(1).executeTakeFirst()) !== undefined;
}

/** Removes some of what attackers left behind. @returns whether there may be more */
export async function removeLeft(trx: Trx, most: number): Promise<boolean> {
  const left = await trx.selectFrom('attackers_leaving').select('ip').orderBy('ip').limit(1).executeTakeFirst();
  if (left === undefined) return false;
  if ((await removeCommands(trx, left.ip, most)) < most) {
    await trx.deleteFrom('attackers_leaving').where('ip', '=', left.ip).execute();
  }
  return true;
}

async function removeCommands(trx: Trx, ip: string, most: number): Promise<number> {
  const { numDeletedRows } = await trx
    .deleteFrom('attacker_commands')
    .where('seq', 'in', (eb) =>
      eb.selectFrom('attacker_commands').select('seq').where('ip', '=', ip).orderBy('seq').limit(most),
    )
    .executeTakeFirst();
  await addToCounters(trx, { attacker_commands: -Number(numDeletedRows) });
  return Number(numDeletedRows);
}

/** For a limit that is lower than it was. */
export function keptAttackers(engine: Engine, limits: Limits): KeptRows[] {
  return [
    keptRoster('attackers', async (trx, ips) => {
      const uuids = [];
      for (const ip of ips) uuids.push(...(await removeAttacker(trx, ip)));
      await strike(new Roster(trx, engine, 'attackers', limits.attackers), ips);
      await strike(new Roster(trx, engine, 'attacker_uuids', limits.attacker_uuids), uuids);
    }),
    keptRoster('attacker_uuids', async (trx, uuids) => {
      await removeUuids(trx, uuids);
      await strike(new Roster(trx, engine, 'attacker_uuids', limits.attacker_uuids), uuids);
    }),
    keptRoster('attributed', async (trx, identities) => {
      await trx.deleteFrom('attributions').where('identity_uuid', 'in', identities).execute();
      await strike(new Roster(trx, engine, 'attributed', limits.attributed), identities);
    }),
  ];
}
