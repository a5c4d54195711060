import type { JsonObject } from '../bus/event.ts';
import type { LogPlace } from '../bus/log-history.ts';

/** What a database snapshot is for a stream: the state, and the newest revision of the channel that it contains. */
export interface Snapshot {
  readonly revision: number;
  readonly data: JsonObject;
  /**
   * The place in the channel up to which it contains all events, for rows that follow the log: the stream goes on from
   * there. Its proof is empty where nothing of the channel has been read yet. Absent: the position that was read before it.
   */
  readonly contains?: ContainedPlace;
}

/** Up to where rows that follow the log contain a channel's events. */
export interface ContainedPlace extends LogPlace {
  /** The offset of the log up to which they contain all events. */
  readonly logOffset: number;
}
