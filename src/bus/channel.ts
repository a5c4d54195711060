import type { Event } from './event.ts';

/** The channel that holds every event. */
export const LOG_CHANNEL = 'log';

/** One token of a topic. Producers put anything into payloads; places are stored as words, so a space would forge one. */
const TOPOLOGY_ID = /^[^\s.*>]{1,128}$/;

/** How the channels of topologies begin. */
export const TOPOLOGY_PREFIX = 'topology.';

/** The channel of one topology. */
export function topologyChannel(topologyId: string): string {
  return `${TOPOLOGY_PREFIX}${topologyId}`;
}

/**
 * The channels of an event beside {@link LOG_CHANNEL}: its topic root, or `topology.<id>` for `topology.<id>.*`; a
 * `decky.*` event whose payload names a `topology_id` is in that topology's channel too. A pure function of the event,
 * so that every producer and every reader agrees. Sorted: rows that are locked by channel are locked in one order.
 */
export function channelsOf(event: Pick<Event, 'topic' | 'payload'>): string[] {
  const [root = '', second] = event.topic.split('.');
  if (root === 'topology' && second !== undefined) return [topologyChannel(second)];
  // `log` is the name of the channel of everything; an event of that root is in there already.
  const channels = root === LOG_CHANNEL ? [] : [root];
  const topologyId = event.payload.topology_id;
  if (root === 'decky' && typeof topologyId === 'string' && TOPOLOGY_ID.test(topologyId)) {
    channels.push(topologyChannel(topologyId));
  }
  return channels.sort();
}
