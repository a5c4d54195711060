/** A stream that the page can open. */
export interface StreamChoice {
  /** Path and query of the stream below the API, without credentials. */
  readonly path: string;
  /** The topology that it shows, if it is the stream of one. */
  readonly topologyId: string | undefined;
  /**
   * The names of its events. A native `EventSource` hands over only the names that somebody listens to, so a name that is
   * missing here would look like a gap.
   */
  readonly eventNames: readonly string[];
}

const TOPOLOGY_EVENTS = [
  'mutation.enqueued',
  'mutation.applying',
  'mutation.applied',
  'mutation.failed',
  'status',
  'decky.mutate_request',
  'decky.mutation',
  'decky.state',
  'decky.traffic',
  'decky.service_added',
  'decky.service_removed',
  'decky.service_config_changed',
  'decky.lifecycle',
];

/** The stream of one topology: its mutations, its status and its deckies. */
export function topologyStream(topologyId: string): StreamChoice {
  return { path: `/topologies/${encodeURIComponent(topologyId)}/events`, topologyId, eventNames: TOPOLOGY_EVENTS };
}

/** The stream of attacker identities. */
export const IDENTITIES: StreamChoice = {
  path: '/identities/events',
  topologyId: undefined,
  eventNames: ['formed', 'observation.linked', 'merged', 'unmerged', 'campaign.assigned'],
};

/** Every event of the log that the role may see; its events are unnamed, their topic is in the data. */
export const ALL_EVENTS: StreamChoice = {
  path: `/events?topics=${encodeURIComponent('>')}`,
  topologyId: undefined,
  eventNames: ['message'],
};

/**
 * The address to open a stream at.
 * @param base the API's prefix
 * @param lastEventId where to go on; without it the stream starts with what is now
 */
export function streamUrl(base: string, choice: StreamChoice, ticket: string, lastEventId?: string): string {
  return (
    base + withQuery(choice.path, { ticket, ...(lastEventId === undefined ? {} : { last_event_id: lastEventId }) })
  );
}

/** The path with more parameters in its query. */
export function withQuery(path: string, parameters: Readonly<Record<string, string>>): string {
  return `${path}${path.includes('?') ? '&' : '?'}${new URLSearchParams(parameters)}`;
}
