import type { Trx } from '../../db/database.ts';
import type { Claim } from './claim.ts';

/** Keeps a subnet for the claim's mutation, for as long as it is being applied. */
export async function reserveSubnet(trx: Trx, claim: Claim, subnet: string): Promise<void> {
  await trx
    .updateTable('topology_mutations')
    .set({ reserved_subnet: subnet })
    .where('id', '=', claim.mutationId)
    .execute();
}
