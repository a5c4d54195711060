import type { Db, Trx } from '../db/database.ts';
import { lockNamed } from '../db/leases.ts';
import { AppError } from '../errors.ts';
import { nextSubnet } from './addresses.ts';

/** Where the DMZ of a blank topology gets its network. */
export const DMZ_POOL = '10.0.0.0/16';
/** Where every LAN gets its network for which nobody names one. */
export const LAN_POOL = '172.16.0.0/12';

/**
 * The networks of every topology that is not torn down: all of them may share one host.
 * @returns CIDRs
 */
export async function usedSubnets(db: Db | Trx): Promise<string[]> {
  const rows = await db
    .selectFrom('lans')
    .innerJoin('topologies', 'topologies.id', 'lans.topology_id')
    .where('topologies.status', '<>', 'torn_down')
    .select('lans.subnet')
    .execute();
  return rows.map(({ subnet }) => subnet);
}

/**
 * Makes sure that nobody else takes networks before this transaction ends: of two that look for a free one at once, the
 * second waits here and then sees what the first has taken. Lock a topology's row before this, never after.
 */
export const lockSubnets = (trx: Trx): Promise<void> => lockNamed(trx, 'subnets');

/**
 * The networks that a new LAN must not have: those of other LANs, and those chosen for LANs that mutations are adding.
 * Nobody else chooses until the transaction ends.
 * @returns CIDRs
 */
export async function lockUsedSubnets(trx: Trx): Promise<string[]> {
  await lockSubnets(trx);
  return [...(await usedSubnets(trx)), ...(await reservedSubnets(trx))];
}

/**
 * Takes free /24 networks.
 * @param pool CIDR
 * @returns as many CIDRs as asked for, none of them in use anywhere
 * @throws {AppError} `conflict` when the pool is exhausted
 */
export async function takeSubnets(trx: Trx, pool: string, count: number): Promise<string[]> {
  const used = await lockUsedSubnets(trx);
  return Array.from({ length: count }, () => {
    const subnet = nextSubnet(pool, used);
    if (subnet === undefined) throw new AppError('conflict', `No free /24 is left in ${pool}`);
    used.push(subnet);
    return subnet;
  });
}

/** The networks of LANs that mutations are adding: chosen, carried out perhaps, but not written yet. */
async function reservedSubnets(trx: Trx): Promise<string[]> {
  const rows = await trx
    .selectFrom('topology_mutations')
    .select('reserved_subnet')
    .where('state', '=', 'applying')
    .where('reserved_subnet', 'is not', null)
    .$narrowType<{ reserved_subnet: string }>()
    .execute();
  return rows.map((row) => row.reserved_subnet);
}
