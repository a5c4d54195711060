/** What the bench tells its own processes and hears from them. */

export type SwarmCommand =
  | {
      readonly do: 'connect';
      /** Of the server, without a path. */
      readonly url: string;
      readonly path: string;
      readonly token: string;
      /** How many clients to have in the end. */
      readonly clients: number;
    }
  | { readonly do: 'disconnect' }
  /** Starts counting anew. */
  | { readonly do: 'reset' }
  | { readonly do: 'report' };

/** What the clients have received since the last reset. */
export interface SwarmReport {
  readonly clients: number;
  /** Live frames. */
  readonly delivered: number;
  /** Events that a client did not get: its next one had a higher number. */
  readonly missing: number;
  /** Events that a client got again. */
  readonly repeated: number;
  /** Times that a client was given a new position: a reset, or another epoch. */
  readonly resets: number;
  /** Connections that ended without being asked to. */
  readonly closed: number;
  /** From the making of an event to its reading by a client, in milliseconds. */
  readonly latency: Latency;
  /** Milliseconds from the first to the last delivery. */
  readonly spanMs: number;
  /** Deliveries of each whole second between the first and the last one. */
  readonly perSecond: readonly number[];
}

export interface PublisherCommand {
  /** Where Redis is: a URL or the path of its socket. */
  readonly redis: string;
  /** Entries that a channel keeps, as the server has it configured. */
  readonly maxEvents: number;
  readonly topic: string;
  /** Events in each second. */
  readonly rate: number;
  readonly seconds: number;
}

export interface PublisherReport {
  readonly published: number;
  /** Milliseconds from the first event to the last acknowledgement. */
  readonly spanMs: number;
}

export interface SocketCommand {
  /** Of the server, without a path. */
  readonly url: string;
  readonly token: string;
  /** What is published again and again, as JSON. */
  readonly event: string;
  /** Events of one message; 1 sends them as single ones. */
  readonly events: number;
  /** Messages without an answer yet. */
  readonly window: number;
  readonly seconds: number;
}

export interface SocketReport {
  /** Events that were acknowledged while it was measured. */
  readonly published: number;
  readonly spanMs: number;
  /** From the sending of a message to its answer, in milliseconds. */
  readonly latency: Latency;
}

/** Percentiles of latencies in milliseconds. */
export interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface VisitCommand {
  /** Of the server, without a path. */
  readonly url: string;
  readonly token: string;
  readonly username: string;
  readonly password: string;
  readonly topic: string;
  readonly seconds: number;
  /** One publisher who waits for each acknowledgement; without it nobody publishes. */
  readonly publishes: boolean;
}

export interface VisitReport {
  readonly health: Latency;
  readonly login: Latency;
  readonly publish: Latency;
  /** Events that were acknowledged. */
  readonly published: number;
  /** Requests that were not answered by 2xx. */
  readonly refused: number;
}

/** Milliseconds since the epoch with fractions, on a clock that all processes of one machine share. */
export function preciseNow(): number {
  return performance.timeOrigin + performance.now();
}

/** What the receiver of webhooks is to do from now on. */
export interface ReceiverCommand {
  /** It answers 503. */
  readonly refuse: boolean;
}

export interface ReceiverReport {
  readonly port: number;
  /** Accepted since it began. */
  readonly requests: number;
  /** Connections that it was ever asked on. */
  readonly connections: number;
}
