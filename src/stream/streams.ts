import type { Principal } from '../auth/principal.ts';
import { haveSameRights, type RoleGate } from '../auth/rights.ts';
import { parseCursor } from '../bus/cursor.ts';
import type { EventLog } from '../bus/event-log.ts';
import { AppError, describeError } from '../errors.ts';
import { Connection } from './connection.ts';
import type { Checkpoint } from './group-reader.ts';
import type { Hub } from './hub.ts';
import { askPosition, type Prepared, prepareOpening } from './preparation.ts';
import type { Resumption } from './recovery.ts';
import { SessionChecks, type SessionChecksParts } from './session-checks.ts';
import { inSlices } from './slices.ts';
import { StallWatch } from './stall-watch.ts';
import type { ConnectionParts, Subscription } from './subscription.ts';
import type { Transport } from './transport.ts';
import type { Slot, UserStreams } from './user-streams.ts';

export interface StreamsParts extends SessionChecksParts {
  readonly connection: ConnectionParts & {
    readonly groups: CheckpointGroups;
    readonly eventLog: Pick<EventLog, 'placeSince'>;
  };
  readonly hub: Pick<Hub, 'sweep'>;
  readonly slots: UserStreams;
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
  readonly gate: RoleGate;
  /** {@link Streams.revocations} before it was authenticated. */
  readonly heard: number;
  /** Names the stream for the take-over of a half-dead predecessor: `topology:<id>`. */
  readonly stream: string;
  readonly subscription: Subscription;
}

/** A stream that is admitted and prepared; {@link start} begins it, {@link abandon} gives it up. */
export interface Admission {
  start(transport: Transport): Connection;
  abandon(): Promise<void>;
}

/** The gate that lets every role in. */
const ANYONE: RoleGate = 'anyone';
/** What is told to Redis in one tick at most; who comes later is told of in the next. */
const MOST_CHECKPOINTS = 500;
/** Consumer groups that are created in one tick at most. */
const MOST_CREATED = 500;
/** An ended channel is remembered for so long, for streams that were being opened meanwhile; and so many are. */
const ENDED = { ms: 60_000, most: 1000 } as const;

interface Open {
  readonly connection: Connection;
  client: Client;
  readonly slot: Slot;
  readonly transport: Transport;
  /** A tick has seen it before. */
  hasLived: boolean;
  endSession(): void;
}

/** What ends with the session of a user. */
interface OfSession {
  endSession(): void;
}

/** All open streams of this process, whatever carries them: admission, time, sessions, drain. */
export class Streams {
  /** Which clients take nothing, whatever carries their streams. */
  readonly stalls: StallWatch;
  readonly #parts: StreamsParts;
  readonly #sessions: SessionChecks<OfSession>;
  readonly #open = new Map<string, Open>();
  readonly #ended = new Map<string, number>();
  /** Whose checkpoint is next: a walk over all that goes on from tick to tick. */
  #checkpoints: Iterator<Open> = this.#open.values();
  #ticking = false;
  #timer: Timer | undefined;
  #draining = false;
  #renewedAt = 0;

  constructor(parts: StreamsParts) {
    this.#parts = parts;
    this.stalls = new StallWatch(parts.stallMs);
    this.#sessions = new SessionChecks(parts, (held) => held.endSession());
  }

  get size(): number {
    return this.#open.size;
  }

  /** True from the beginning of {@link drain}: new streams are to be sent away. */
  get draining(): boolean {
    return this.#draining;
  }

  /** Revocations heard of so far; see {@link Client.heard}. */
  get revocations(): number {
    return this.#sessions.revocations;
  }

  start(): void {
    this.#timer = setInterval(() => void this.#tick(), this.#tickMs);
  }

  /** Ends every stream with a `retry:`, so that clients come back to another node or a little later. */
  drain(): void {
    this.#draining = true;
    clearInterval(this.#timer);
    void inSlices(this.#open.values(), ({ connection }) => connection.close('end'));
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
    // In one round trip. The slot decides whether there is a stream; where the channel stands costs next to nothing.
    const taken = this.#parts.slots.acquire(principal.userUuid, stream, id, mayTakeOver, ownerOf(principal));
    const asked = askPosition(subscription, this.#parts.connection, request);
    const slot = await taken;
    try {
      const prepared = await prepareOpening(subscription, this.#parts.connection, request, { asked });
      if (prepared.standing === undefined && subscription.once && isReturning) {
        throw new AppError('unavailable', 'The event log cannot be reached; try again shortly');
      }
      return this.#admission(id, client, slot, prepared);
    } catch (error) {
      await this.#parts.slots.release(slot);
      throw error;
    }
  }

  /**
   * What a stream of the log resumes from that is to begin at a time.
   * @param seconds see {@link EventLog.placeSince}
   * @throws {AppError} `unavailable`
   */
  async resumptionSince(seconds: number): Promise<Resumption> {
    try {
      // Nobody comes back: as one that was evicted it takes no other stream's slot.
      return {
        kind: 'from',
        cursor: { ...(await this.#parts.connection.eventLog.placeSince(seconds)), evicted: true },
      };
    } catch (error) {
      this.#parts.logger.debug('the log was not asked where it stood', { error: describeError(error) });
      throw new AppError('unavailable', 'The event log cannot be reached; try again shortly');
    }
  }

  /** Drops a user's streams at the socket, as a broken network would. */
  cut(userUuid: string): number {
    const mine = [...this.#open.values()].filter(({ client }) => client.principal.userUuid === userUuid);
    for (const { connection } of mine) connection.close('abort');
    return mine.length;
  }

  /** What the channel told of is no more: its streams end, and clients that come back are told so. */
  endChannel(channel: string): void {
    this.#ended.set(channel, performance.now());
    const [oldest] = this.#ended.keys();
    if (oldest !== undefined && this.#ended.size > ENDED.most) this.#ended.delete(oldest);
    for (const { connection } of this.#open.values()) {
      if (connection.view.channel === channel) connection.close('end');
    }
  }

  /** The groups of this node may be gone, and with them what they kept: every stream asks where it stands. */
  groupsGone(): void {
    for (const { connection } of this.#open.values()) connection.groupGone();
  }

  /**
   * Asks again whether open streams may go on, and ends those that may not.
   * @param userUuid only the streams of this user; all without it
   */
  recheck(userUuid?: string): Promise<void> {
    return this.#sessions.recheck(userUuid);
  }

  /**
   * Something else that lives as long as a session does, whatever streams it carries.
   * @param heard {@link revocations} before the session was authenticated
   * @param endSession called when the session is found to have ended
   * @returns gives it up
   */
  attend(principal: Principal, heard: number, endSession: () => void): () => void {
    const held = { endSession };
    this.#sessions.add(principal, ANYONE, heard, held);
    return () => this.#sessions.delete(principal, ANYONE, held);
  }

  /**
   * The same user goes on with a newer session. A stream that shows what it may no longer see ends, or that shows
   * less than it may see now; its client can come back.
   * @param heard {@link revocations} before the session was authenticated
   */
  renew(connection: Connection, principal: Principal, heard: number): void {
    const open = this.#open.get(connection.id);
    if (open === undefined) return;
    if (!haveSameRights(principal, open.client.principal)) return connection.close('end');
    this.#sessions.delete(open.client.principal, open.client.gate, open);
    open.client = { ...open.client, principal, heard };
    this.#sessions.add(principal, open.client.gate, heard, open);
  }

  #admission(id: string, client: Client, slot: Slot, prepared: Prepared): Admission {
    return {
      start: (transport) => {
        const connection = this.#connection(id, client, slot, transport);
        connection.start(prepared);
        if (this.#draining || this.#hasEnded(client.subscription.view.channel)) connection.close('end');
        return connection;
      },
      abandon: () => this.#parts.slots.release(slot),
    };
  }

  #hasEnded(channel: string): boolean {
    const at = this.#ended.get(channel);
    return at !== undefined && performance.now() - at < ENDED.ms;
  }

  /** Apart from the admission: what the connection keeps must not keep the snapshot that it began with. */
  #connection(id: string, client: Client, slot: Slot, transport: Transport): Connection {
    const { principal, gate, heard } = client;
    const connection = new Connection(id, client.subscription, this.#parts.connection, transport, () => {
      this.#open.delete(id);
      this.#sessions.delete(open.client.principal, gate, open);
      void this.#parts.slots.release(slot);
    });
    const open: Open = { connection, client, slot, transport, hasLived: false, endSession: () => endSession(open) };
    this.#open.set(id, open);
    this.#sessions.add(principal, gate, heard, open);
    return connection;
  }

  /** A quarter of the keepalive when that is short, so that its promise ("after 15 s") is kept. */
  get #tickMs(): number {
    return Math.min(1000, this.#parts.keepaliveMs / 4);
  }

  async #tick(): Promise<void> {
    if (this.#ticking) return;
    this.#ticking = true;
    const [now, time] = [performance.now(), Date.now()];
    this.#parts.hub.sweep(now);
    this.#sessions.tick(now, this.#tickMs);
    void this.#checkpoint();
    if (now - this.#renewedAt >= this.#parts.leaseMs / 3) {
      this.#renewedAt = now;
      void this.#renewSlots();
    }
    try {
      // One tick earlier than the promise: the next tick would be too late.
      const keepaliveMs = this.#parts.keepaliveMs - this.#tickMs;
      await inSlices(this.#open.values(), (open) => {
        if (open.client.principal.expiresAt <= time) endSession(open);
        else open.connection.tick(now, keepaliveMs);
      });
    } finally {
      this.#ticking = false;
    }
  }

  async #checkpoint(): Promise<void> {
    const byGroup = new Map<Checkpoint['group'], { connection: Connection; checkpoint: Checkpoint }>();
    let created = 0;
    const isFull = () => byGroup.size >= MOST_CHECKPOINTS || created >= MOST_CREATED;
    for (let looked = 0; looked <= this.#open.size && !isFull(); looked += 1) {
      const { done, value } = this.#checkpoints.next();
      if (done) {
        this.#checkpoints = this.#open.values();
        continue;
      }
      if (value.hasLived && value.connection.ensureGroup()) created += 1;
      value.hasLived = true;
      const checkpoint = value.connection.takeCheckpoint();
      if (checkpoint !== undefined) byGroup.set(checkpoint.group, { connection: value.connection, checkpoint });
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

/** Whose streams are counted, as it is told to whom they belong. */
function ownerOf({ role, username }: Principal): string {
  return role === 'account' ? `the service account '${username}'` : `the user '${username}'`;
}

/** Its session has ended. An answer that is finished, but that the client has not taken yet, is not for the time after. */
function endSession({ connection, transport }: Open): void {
  if (connection.state === 'closed') transport.abort();
  else connection.close('end');
}

/**
 * What a request asks to resume from: the `Last-Event-ID` header, or `last_event_id` / `lastEventId` in the query, which
 * people use where they can set no header. The header wins.
 */
export function resumptionOf(headers: Headers, query: URLSearchParams): Resumption {
  return resumptionFrom(headers.get('last-event-id') || query.get('last_event_id') || query.get('lastEventId') || '');
}

/** @param text a cursor, or nothing for a fresh start */
export function resumptionFrom(text: string): Resumption {
  if (text === '') return { kind: 'fresh' };
  const cursor = parseCursor(text.trim());
  return cursor === undefined ? { kind: 'malformed' } : { kind: 'from', cursor };
}
