// One hash tag for all keys, so that a script may touch any of them on Redis Cluster too.
const TAG = '{decnet}';

/** Every Redis key of the bus. */
export const keys = {
  /**
   * Hash: `epoch`, `life` (the epoch that was minted with it), `term` (of the newest relay), `witnessed`
   * (offset of the log that the relay was told last, to write it down), and for each channel
   * `offset:<channel>`, `proof:<channel>`, `bytes:<channel>` (of all its events) and `revision:<channel>` (the newest).
   * `root`: the proof of the place before the first event of a channel, since `rooted` (seconds); absent: '0'.
   */
  meta: `${TAG}:meta`,
  /** Stream of a channel; entry ids are `<offset>-0`. */
  stream: (channel: string) => `${TAG}:stream:${channel}`,
  /** Matches the streams of all channels. */
  allStreams: `${TAG}:stream:*`,
  /** String: the result of publishing this event id, for as long as it may be published again. */
  published: (eventId: string) => `${TAG}:published:${eventId}`,
  /** String: the answer of a call that published events, for as long as its connection may send it again. */
  call: (id: string) => `${TAG}:call:${id}`,
  /** Sorted set: node → when its lease ends, in milliseconds of the Redis clock. */
  nodes: `${TAG}:nodes`,
  /** Set: the consumer groups that a node owns, each `<group> <channel>`. */
  groups: (node: string) => `${TAG}:groups:${node}`,
  /** String: held by the one node that cleans up. */
  housekeeping: `${TAG}:housekeeping`,
  /** String: there for as long as no node need walk over all channels again. */
  walked: `${TAG}:walked`,
  /** Sorted set: the open streams of a user → when each one's lease ends, in milliseconds of the Redis clock. */
  userStreams: (userUuid: string) => `${TAG}:streams:${userUuid}`,
} as const;

/** Field of `meta` that counts the events of a channel. */
export const OFFSET_FIELD = 'offset:';
