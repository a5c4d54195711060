import { createEvent } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { topics } from '../bus/topic.ts';
import type { Trx } from '../db/database.ts';
import { ATTACKER_ADDRESSES, attackerAddress, demoAttacker, demoIdentity } from './attackers.ts';
import { type DemoAct, type DemoWorld, randomBelow } from './world.ts';

const MAX_IDENTITIES = 60;
const MAX_ATTACKERS = 300;

/** Forms an identity out of two new attackers; once there are enough identities, nothing happens. */
export const formIdentity: DemoAct = async (world) => {
  const formed = await world.db.transaction().execute(async (trx) => {
    if ((await countRows(trx, 'attacker_identities')) >= MAX_IDENTITIES) return false;
    const at = new Date().toISOString();
    const identityUuid = crypto.randomUUID();
    const observed = [
      await meetAttacker(world, trx, identityUuid, at),
      await meetAttacker(world, trx, identityUuid, at),
    ];
    const observations = observed.filter((uuid) => uuid !== undefined);
    if (observations.length === 0) return false;
    await trx
      .insertInto('attacker_identities')
      .values(demoIdentity(identityUuid, observations.length, at))
      .execute();
    const payload = { identity_uuid: identityUuid, observation_uuids: observations };
    await appendToOutbox(trx, [createEvent(topics.identity('formed'), 'formed', payload)]);
    return true;
  });
  if (formed) world.onCommitted();
};

/**
 * Links an attacker to an identity: a new one or, once there are enough, one that another identity can spare. Linking
 * leaves `updated_at` alone (contract §6.1).
 */
export const linkObservation: DemoAct = async (world) => {
  const linked = await world.db.transaction().execute(async (trx) => {
    const identityUuid = await pickIdentity(world, trx);
    if (identityUuid === undefined) return false;
    const at = new Date().toISOString();
    const observation =
      (await meetAttacker(world, trx, identityUuid, at)) ?? (await takeOverAttacker(trx, identityUuid, at));
    if (observation === undefined) return false;
    await trx
      .updateTable('attacker_identities')
      .set((eb) => ({ observation_count: eb('observation_count', '+', 1), last_seen_at: at }))
      .where('uuid', '=', identityUuid)
      .execute();
    const payload = { identity_uuid: identityUuid, observation_uuid: observation };
    await appendToOutbox(trx, [createEvent(topics.identity('observation.linked'), 'observation.linked', payload)]);
    return true;
  });
  if (linked) world.onCommitted();
};

/** A new attacker of the identity; `undefined` when there are enough, or when the address drawn is known already. */
async function meetAttacker(world: DemoWorld, trx: Trx, identityUuid: string, at: string): Promise<string | undefined> {
  if ((await countRows(trx, 'attackers')) >= MAX_ATTACKERS) return undefined;
  const ip = attackerAddress(randomBelow(world, ATTACKER_ADDRESSES));
  const row = await trx
    .insertInto('attackers')
    .values(demoAttacker(crypto.randomUUID(), ip, identityUuid, at))
    .onConflict((conflict) => conflict.column('ip').doNothing())
    .returning('uuid')
    .executeTakeFirst();
  return row?.uuid;
}

/** The attacker not seen for longest among those whose identity has others left, seen again as the given identity. */
async function takeOverAttacker(trx: Trx, identityUuid: string, at: string): Promise<string | undefined> {
  const attacker = await trx
    .selectFrom('attackers')
    .innerJoin('attacker_identities', 'attacker_identities.uuid', 'attackers.identity_id')
    .select(['attackers.uuid as uuid', 'attacker_identities.uuid as donor'])
    .where('attacker_identities.uuid', '!=', identityUuid)
    .where('attacker_identities.observation_count', '>', 1)
    .orderBy('attackers.last_seen')
    .orderBy('attackers.uuid')
    .limit(1)
    .executeTakeFirst();
  if (attacker === undefined) return undefined;
  await trx
    .updateTable('attacker_identities')
    .set((eb) => ({ observation_count: eb('observation_count', '-', 1) }))
    .where('uuid', '=', attacker.donor)
    .execute();
  await trx
    .updateTable('attackers')
    .set({ identity_id: identityUuid, last_seen: at, updated_at: at })
    .where('uuid', '=', attacker.uuid)
    .execute();
  return attacker.uuid;
}

async function pickIdentity(world: DemoWorld, trx: Trx): Promise<string | undefined> {
  const rows = await trx
    .selectFrom('attacker_identities')
    .select('uuid')
    .where('merged_into_uuid', 'is', null)
    .orderBy('updated_at', 'desc')
    .limit(MAX_IDENTITIES)
    .execute();
  return rows[randomBelow(world, rows.length)]?.uuid;
}

async function countRows(trx: Trx, table: 'attacker_identities' | 'attackers'): Promise<number> {
  const { total } = await trx
    .selectFrom(table)
    .select((eb) => eb.fn.countAll<number>().as('total'))
    .executeTakeFirstOrThrow();
  return total;
}
