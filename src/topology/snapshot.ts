import { topologyChannel } from '../bus/channel.ts';
import type { JsonObject } from '../bus/event.ts';
import { channelRevision } from '../bus/outbox.ts';
import { type Db, readConsistently } from '../db/database.ts';
import { isStorable } from '../db/storable.ts';
import { rawMutationOf } from './model.ts';
import { listMutations } from './repository.ts';

/** A snapshot with the revision of the channel that it contains: events up to it need not be sent again. */
export interface TopologySnapshot {
  readonly revision: number;
  readonly data: JsonObject;
}

/**
 * The snapshot that opens a topology's stream (contract §3.1): its status and what is in flight, pending before applying,
 * newest first in each. One transaction reads it all, so that the revision is exactly that of the data.
 * @returns `undefined` when there is no such topology
 */
export async function topologySnapshot(db: Db, id: string): Promise<TopologySnapshot | undefined> {
  if (!isStorable(id)) return undefined;
  return readConsistently(db, async (trx) => {
    const topology = await trx.selectFrom('topologies').select('status').where('id', '=', id).executeTakeFirst();
    if (topology === undefined) return undefined;
    const pending = await listMutations(trx, id, 'pending');
    const applying = await listMutations(trx, id, 'applying');
    return {
      revision: await channelRevision(trx, topologyChannel(id)),
      data: {
        topology_id: id,
        status: topology.status,
        in_flight: [...pending, ...applying].map(rawMutationOf),
      },
    };
  });
}
