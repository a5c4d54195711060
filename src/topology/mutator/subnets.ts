import type { Trx } from '../../db/database.ts';
import { lockSubnets, usedSubnets } from '../subnets.ts';
import type { Claim } from './claim.ts';

/**
 * The subnets that a new LAN must not have: those of other LANs, and those chosen for LANs that are being added. Nobody
 * else chooses until the transaction ends.
 */
export async function lockUsedSubnets(trx: Trx, claim: Claim): Promise<string[]> {
  await lockSubnets(trx);
  const reserved = await trx
    .selectFrom('topology_mutations')
    .select('reserved_subnet as subnet')
    .where('state', '=', 'applying')
    .where('id', '<>', claim.mutationId)
    .execute();
  return [...(await usedSubnets(trx)), ...reserved.map(({ subnet }) => subnet)].filter((subnet) => subnet !== null);
}

/** Keeps a subnet for the claim's mutation, for as long as it is being applied. */
export async function reserveSubnet(trx: Trx, claim: Claim, subnet: string): Promise<void> {
  await trx
    .updateTable('topology_mutations')
    .set({ reserved_subnet: subnet })
    .where('id', '=', claim.mutationId)
    .execute();
}
