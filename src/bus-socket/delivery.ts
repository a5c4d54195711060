import type { Entry } from '../bus/entry.ts';
import type { Log } from '../telemetry/log.ts';
import { BoundedQueue, type QueueLimits } from './bounded-queue.ts';
import type { Connection } from './connection.ts';
import { encodeFrame, ProtocolError } from './frames.ts';
import { Origin } from './origin.ts';
import { type BusSocketStats, RareWarning } from './stats.ts';
import type { Task, Turns } from './turns.ts';

/** Events between the tail and the connections. The tail reads a megabyte at a time and does not wait. */
const BACKLOG: QueueLimits = { items: 65_536, bytes: 32 * 1024 * 1024 };
/** What an entry costs beside its text. */
const ENTRY_BYTES = 512;

/** Hands what the tail reads to the connections that want it: each event once, and never to the one that it came from. */
export class Delivery implements Task {
  /** By the tag of their origin. */
  readonly #connections: ReadonlyMap<string, Connection>;
  readonly #turns: Turns;
  readonly #stats: BusSocketStats;
  readonly #logger: Log;
  readonly #undeliverable: RareWarning;
  readonly #backlog = new BoundedQueue<Entry>(BACKLOG);
  #isBehind = false;

  constructor(connections: ReadonlyMap<string, Connection>, turns: Turns, stats: BusSocketStats, logger: Log) {
    this.#connections = connections;
    this.#turns = turns;
    this.#stats = stats;
    this.#logger = logger;
    this.#undeliverable = new RareWarning(logger, 'the bus socket cannot carry an event; its peers miss it');
  }

  add(entry: Entry): void {
    const dropped = this.#backlog.push(entry, entry.data.length + ENTRY_BYTES);
    this.#turns.add(this);
    if (dropped === 0) return;
    this.#stats.dropped += dropped;
    if (!this.#isBehind) this.#logger.warn('the bus socket does not keep up with the log: its peers miss events');
    this.#isBehind = true;
  }

  step(end: number): boolean {
    const due = new Set<Connection>();
    do {
      const entry = this.#backlog.shift();
      if (entry === undefined) break;
      this.#deliver(entry, due);
    } while (performance.now() < end);
    for (const connection of due) connection.flush();
    this.#isBehind &&= this.#backlog.length > 0;
    return this.#backlog.length > 0;
  }

  #deliver(entry: Entry, due: Set<Connection>): void {
    const origin = this.#originOf(entry.id);
    let frame: Uint8Array | undefined;
    for (const connection of this.#connections.values()) {
      if (connection === origin || !connection.wants(entry.topic)) continue;
      frame ??= this.#encode(entry);
      if (frame === undefined) return;
      connection.deliver(frame);
      due.add(connection);
    }
  }

  #originOf(id: string): Connection | undefined {
    const connection = this.#connections.get(Origin.tagOf(id));
    return connection?.origin.made(id) ? connection : undefined;
  }

  #encode({ id, topic, data }: Entry): Uint8Array | undefined {
    try {
      // What is stored is an object with all the rest of the envelope.
      return encodeFrame('EVT', topic, `{"v":1,"id":${JSON.stringify(id)},${data.slice(1)}`);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#stats.undeliverable += 1;
      this.#undeliverable.warn({ event: id, topic, error: error.message });
      return undefined;
    }
  }
}
