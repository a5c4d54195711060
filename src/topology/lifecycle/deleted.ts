import { topologyChannel } from '../../bus/channel.ts';
import type { Batch } from '../../bus/entry.ts';
import { createEvent, type Event } from '../../bus/event.ts';
import { payloadText } from '../../bus/logged-event.ts';
import type { TailListener } from '../../bus/tail.ts';
import { topics } from '../../bus/topic.ts';

/** Tells every node that a topology is no more; its channel goes with this event. */
const TOPOLOGY_DELETED_TOPIC = topics.system('topology.deleted');

/** @param now milliseconds since the epoch */
export function topologyDeleted(topologyId: string, now: number): Event {
  return createEvent(TOPOLOGY_DELETED_TOPIC, 'topology.deleted', { topology_id: topologyId }, undefined, now);
}

/**
 * Ends what this node streams of a topology that was deleted on any. Without it a stream would stand at a number of the
 * forgotten channel, and pass over what a late producer is given the same numbers for.
 * @param endChannel ends the streams of a channel
 */
export function deletionWatch(endChannel: (channel: string) => void): TailListener {
  return {
    onBatch(batch: Batch) {
      if (batch.channel !== 'system') return;
      for (const entry of batch.entries) {
        if (entry.topic !== TOPOLOGY_DELETED_TOPIC) continue;
        const topologyId = payloadText(entry, 'topology_id');
        if (topologyId !== undefined) endChannel(topologyChannel(topologyId));
      }
    },
    // A deletion that was not seen: its stream finds its group gone as it goes back to its history, and asks.
    onBreak() {},
  };
}
