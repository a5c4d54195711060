import type { Principal, Role } from '../auth/principal.ts';
import { parseCursor } from '../bus/cursor.ts';
import { AppError, describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { Connection, type ConnectionParts, type Prepared, type Subscription } from './connection.ts';
import type { Checkpoint } from './group-reader.ts';
import type { Hub } from './hub.ts';
import type { Resumption } from './recovery.ts';
import { StallWatch } from './stall-watch.ts';
import type { Transport } from './transport.ts';
import type { Slot, UserStreams } from './user-streams.ts';

export interface StreamsParts {
  readonly connection: ConnectionParts & { readonly groups: CheckpointGroups };
  readonly hub: Pick<Hub, 'sweep'>;
  readonly slots: UserStreams;
  readonly logger: Log;
  /** Whether an open stream may go on: its user, session and role are still good. */
  readonly isStillValid: (principal: Principal, gate: Role) => Promise<boolean>;
  readonly keepaliveMs: number;
  /** Milliseconds of taking nothing before a client is dropped. */
  readonly stallMs: number;
  /** Life of a slot that is not renewed, in milliseconds. */
  readonly leaseMs: number;
}

type CheckpointGroups = ConnectionParts['groups'] & {
  checkpoint: (positions: readonly Checkpoint[]) => Promise<Checkpoint['group'][]>;
};

/** A client that may stream: who it is, and what it asked for. */
export interface Client {
  readonly principal: Principal;
  readonly gate: Role;
  /** Names the stream for the take-over of a half-dead predecessor: `topology:<id>`. */
  readonly stream: string;
  readonly subscription: Subscription;
}

/** A stream that is admitted and prepared; {@link start} begins it, {@link abandon} gives it up. */
export interface Admission {
  start(transport: Transport): Connection;
  abandon(): Promise<void>;
}

const RECHECK_MS = 30_000;

/** All open streams of this process, whatever carries them: admission, time, sessions, drain. */
export class Streams {
  /** Which clients take nothing, whatever carries their streams. */
  readonly stalls: StallWatch;
  readonly #parts: StreamsParts;
  readonly #open = new Map<string, { connection: Connection; client: Client; slot: Slot }>();
  #timer: Timer | undefined;
  #draining = false;
  #renewedAt = 0;
  #recheckedAt = performance.now();

  constructor(parts: StreamsParts) {
    this.#parts = parts;
    this.stalls = new StallWatch(parts.stallMs);
  }

  get size(): number {
    return this.#open.size;
  }

  /** True from the beginning of {@link drain}: new streams are to be sent away. */
  get draining(): boolean {
    return this.#draining;
  }

  start(): void {
    // A quarter of the keepalive when that is short, so that its promise ("after 15 s") is kept.
    this.#timer = setInterval(() => this.#tick(), Math.min(1000, this.#parts.keepaliveMs / 4));
  }

  /** Ends every stream with a `retry:`, so that clients come back to another node or a little later. */
  drain(): void {
    this.#draining = true;
    clearInterval(this.#timer);
    for (const { connection } of this.#open.values()) connection.close('end');
  }

  /**
   * Takes a slot and reads what the stream opens with.
   * @throws {AppError} `stream_limit`; `unavailable` when a stream cannot be served now
   */
  async admit(client: Client): Promise<Admission> {
    const id = crypto.randomUUID().replaceAll('-', '').slice(0, 16);
    const { subscription, principal, stream } = client;
    const { request } = subscription;
    const isReturning = request.kind === 'from';
    // Who was told that another stream took its place waits for one: otherwise six tabs evict each other for ever.
    const mayTakeOver = isReturning && !request.cursor.evicted;
    const slot = await this.#parts.slots.acquire(principal.userUuid, stream, id, mayTakeOver);
    try {
      const prepared = await Connection.prepare(subscription, this.#parts.connection, subscription.request);
      if (prepared.standing === undefined && subscription.once && isReturning) {
        throw new AppError('unavailable', 'The event log cannot be reached; try again shortly');
      }
      return this.#admission(id, client, slot, prepared);
    } catch (error) {
      await this.#parts.slots.release(slot);
      throw error;
    }
  }

  /** Drops a user's streams at the socket, as a broken network would. */
  cut(userUuid: string): number {
    const mine = [...this.#open.values()].filter(({ client }) => client.principal.userUuid === userUuid);
    for (const { connection } of mine) connection.close('abort');
    return mine.length;
  }

  /**
   * Asks again whether open streams may go on, and ends those that may not.
   * @param userUuid only the streams of this user; all without it
   */
  async recheck(userUuid?: string): Promise<void> {
    const concerned = [...this.#open.values()].filter(
      ({ client }) => userUuid === undefined || client.principal.userUuid === userUuid,
    );
    await Promise.all(
      concerned.map(async ({ connection, client }) => {
        try {
          const isValid = await this.#parts.isStillValid(client.principal, client.gate);
          if (!isValid) connection.close('end');
        } catch (error) {
          // Database down: running streams go on (design, "Redis down"); the next round asks again.
          this.#parts.logger.warn('a session could not be checked', { error: describeError(error) });
        }
      }),
    );
  }

  #admission(id: string, client: Client, slot: Slot, prepared: Prepared): Admission {
    return {
      start: (transport) => {
        const connection = this.#connection(id, client, slot, transport);
        connection.start(prepared);
        if (this.#draining) connection.close('end');
        return connection;
      },
      abandon: () => this.#parts.slots.release(slot),
    };
  }

  /** Apart from the admission: what the connection keeps must not keep the snapshot that it began with. */
  #connection(id: string, client: Client, slot: Slot, transport: Transport): Connection {
    const connection = new Connection(id, client.subscription, this.#parts.connection, transport, () => {
      this.#open.delete(id);
      void this.#parts.slots.release(slot);
    });
    this.#open.set(id, { connection, client, slot });
    return connection;
  }

  #tick(): void {
    const [now, time] = [performance.now(), Date.now()];
    for (const { connection, client } of this.#open.values()) {
      if (client.principal.expiresAt <= time) connection.close('end');
      else connection.tick(now, this.#keepaliveMs());
    }
    this.#parts.hub.sweep(now);
    void this.#checkpoint();
    if (now - this.#renewedAt >= this.#parts.leaseMs / 3) {
      this.#renewedAt = now;
      void this.#renewSlots();
    }
    if (now - this.#recheckedAt >= RECHECK_MS) {
      this.#recheckedAt = now;
      void this.recheck();
    }
  }

  /** One tick earlier than the promise: the next tick would be too late. */
  #keepaliveMs(): number {
    return this.#parts.keepaliveMs - Math.min(1000, this.#parts.keepaliveMs / 4);
  }

  async #checkpoint(): Promise<void> {
    const byGroup = new Map<Checkpoint['group'], { connection: Connection; checkpoint: Checkpoint }>();
    for (const { connection } of this.#open.values()) {
      const checkpoint = connection.takeCheckpoint();
      if (checkpoint !== undefined) byGroup.set(checkpoint.group, { connection, checkpoint });
    }
    if (byGroup.size === 0) return;
    const gone = await this.#parts.connection.groups.checkpoint(
      [...byGroup.values()].map(({ checkpoint }) => checkpoint),
    );
    for (const group of gone) byGroup.get(group)?.connection.groupGone();
  }

  async #renewSlots(): Promise<void> {
    try {
      for (const { member } of await this.#parts.slots.renew()) {
        const id = member.slice(member.lastIndexOf('|') + 1);
        this.#open.get(id)?.connection.evict();
      }
    } catch (error) {
      this.#parts.logger.debug('stream slots could not be renewed', { error: describeError(error) });
    }
  }
}

/**
 * What a request asks to resume from: the `Last-Event-ID` header, or `last_event_id` / `lastEventId` in the query, which
 * people use where they can set no header. The header wins.
 */
export function resumptionOf(headers: Headers, query: URLSearchParams): Resumption {
  const text = headers.get('last-event-id') || query.get('last_event_id') || query.get('lastEventId') || '';
  if (text === '') return { kind: 'fresh' };
  const cursor = parseCursor(text.trim());
  return cursor === undefined ? { kind: 'malformed' } : { kind: 'from', cursor };
}
