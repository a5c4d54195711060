import { topics } from '../bus/topic.ts';
import type { Db } from '../db/database.ts';
import { ATTACKER_ADDRESSES, attackerAddress, type DemoAttacker, showsUp } from './attackers.ts';
import { type DemoAct, type DemoWorld, pick, randomBelow, tell } from './world.ts';

/** What a clusterer tells. Nothing is written but by the read models: they follow from these events as from anybody's. */

const MAX_IDENTITIES = 60;
const MAX_ATTACKERS = 300;

/** Forms an identity out of two new attackers; once there are enough identities, nothing happens. */
export const formIdentity: DemoAct = async (world) => {
  if ((await countRows(world.db, 'attacker_identities')) >= MAX_IDENTITIES) return;
  const observed = [await meetAttacker(world), await meetAttacker(world)].filter((uuid) => uuid !== undefined);
  if (observed.length === 0) return;
  const payload = { identity_uuid: crypto.randomUUID(), observation_uuids: observed };
  await tell(world, topics.identity('formed'), 'formed', payload);
};

/** Links an attacker to an identity: a new one or, once there are enough, one that another identity can spare. */
export const linkObservation: DemoAct = async (world) => {
  const identity = await pickIdentity(world);
  if (identity === undefined) return;
  const observation = (await meetAttacker(world)) ?? (await takeOverAttacker(world, identity));
  if (observation === undefined) return;
  const payload = { identity_uuid: identity, observation_uuid: observation };
  await tell(world, topics.identity('observation.linked'), 'observation.linked', payload);
};

/** A new attacker shows up; `undefined` when there are enough, or when the address drawn is known already. */
async function meetAttacker(world: DemoWorld): Promise<string | undefined> {
  if ((await countRows(world.db, 'attackers')) >= MAX_ATTACKERS) return undefined;
  const ip = attackerAddress(randomBelow(world, ATTACKER_ADDRESSES));
  const known = await world.db.selectFrom('attackers').select('uuid').where('ip', '=', ip).executeTakeFirst();
  if (known !== undefined) return undefined;
  return seen(world, { uuid: crypto.randomUUID(), ip });
}

/** The attacker not seen for longest among those whose identity has others left is seen again. */
async function takeOverAttacker(world: DemoWorld, identity: string): Promise<string | undefined> {
  const attacker = await world.db
    .selectFrom('attackers')
    .innerJoin('attacker_identities', 'attacker_identities.uuid', 'attackers.identity_id')
    .select(['attackers.uuid as uuid', 'attackers.ip as ip'])
    .where('attacker_identities.uuid', '!=', identity)
    .where('attacker_identities.observation_count', '>', 1)
    .orderBy('attackers.last_seen')
    .orderBy('attackers.uuid')
    .limit(1)
    .executeTakeFirst();
  return attacker === undefined ? undefined : seen(world, attacker);
}

async function seen(world: DemoWorld, attacker: DemoAttacker): Promise<string> {
  for (const event of showsUp(attacker, Date.now())) await world.publish(event);
  return attacker.uuid;
}

async function pickIdentity(world: DemoWorld): Promise<string | undefined> {
  const rows = await world.db
    .selectFrom('attacker_identities')
    .select('uuid')
    .where('merged_into_uuid', 'is', null)
    .orderBy('updated_at', 'desc')
    .orderBy('uuid')
    .limit(MAX_IDENTITIES)
    .execute();
  return pick(world, rows)?.uuid;
}

async function countRows(db: Db, table: 'attacker_identities' | 'attackers'): Promise<number> {
  const { total } = await db
    .selectFrom(table)
    .select((eb) => eb.fn.countAll<number>().as('total'))
    .executeTakeFirstOrThrow();
  return total;
}
