import type { Trx } from '../../db/database.ts';
import type { DeckyRow, LanRow } from '../../db/schema.ts';
import { AppError } from '../../errors.ts';
import { nextAddress } from '../addresses.ts';
import { edgeRow } from '../creation/create.ts';
import { type Addresses, addressesIn, configOf, placedAt, takenAddresses } from '../decky-config.ts';
import type { TopologyParts } from '../repository.ts';

/**
 * Puts a decky into a LAN that it is not in, at the next free address there.
 * @throws {AppError} `conflict` when no address is left
 */
export async function joinLan(
  trx: Trx,
  { topology, deckies }: TopologyParts,
  decky: DeckyRow,
  lan: LanRow,
  kind: { readonly isBridge: boolean; readonly forwardsL3: boolean },
) {
  const ip = nextAddress(lan.subnet, takenAddresses(deckies, lan));
  if (ip === undefined) throw new AppError('conflict', `No free address is left in LAN '${lan.name}'`);
  const edge = edgeRow(topology.id, decky.uuid, lan.id, kind);
  await trx.insertInto('topology_edges').values(edge).execute();
  await placeDecky(trx, decky, { ...addressesIn(configOf(decky)), [lan.name]: ip });
  return edge;
}

/** Writes where a decky answers. */
export async function placeDecky(trx: Trx, decky: DeckyRow, addresses: Addresses): Promise<void> {
  await trx
    .updateTable('topology_deckies')
    .set({ ...placedAt(configOf(decky), addresses), updated_at: new Date().toISOString() })
    .where('uuid', '=', decky.uuid)
    .execute();
}
