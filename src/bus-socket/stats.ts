import type { Log, LogFields } from '../telemetry/log.ts';

/** What a bus socket has done since it was started, for those who look after it. */
export interface BusSocketStats {
  /** Open now, and such as have left publications behind that Redis has not taken yet. */
  connections: number;
  /** Publications that Redis has taken. */
  published: number;
  /** Publications that this bus does not take: topic, type, payload, or the rights of the socket. */
  refused: number;
  /** Events that were handed to connections. */
  delivered: number;
  /** Events that connections have not got because they were too slow. */
  dropped: number;
  /** Events that the protocol cannot carry to connections: too large, or a topic that is not ASCII. */
  undeliverable: number;
  /** Connections that were ended because of what they sent, or because there were too many. */
  violations: number;
  /** Times that connections may have missed events because the log was replaced. */
  breaks: number;
  /** Publications that were given up: the process ended while Redis was away, or a connection broke before they were read. */
  lost: number;
}

export function newStats(): BusSocketStats {
  return {
    connections: 0,
    published: 0,
    refused: 0,
    delivered: 0,
    dropped: 0,
    undeliverable: 0,
    violations: 0,
    breaks: 0,
    lost: 0,
  };
}

/** Warnings of one kind are apart by so much at least: whoever sends rubbish must not fill the log. */
const APART_MS = 10_000;

/** A warning that may be due thousands of times a second: each line says how many were left out before it. */
export class RareWarning {
  readonly #logger: Log;
  readonly #message: string;
  #last = Number.NEGATIVE_INFINITY;
  #leftOut = 0;

  constructor(logger: Log, message: string) {
    this.#logger = logger;
    this.#message = message;
  }

  warn(fields: LogFields, now = performance.now()): void {
    if (now - this.#last < APART_MS) {
      this.#leftOut += 1;
      return;
    }
    this.#last = now;
    this.#logger.warn(this.#message, { ...fields, left_out: this.#leftOut });
    this.#leftOut = 0;
  }
}
