import { type Cursor, formatCursor } from '../bus/cursor.ts';
import type { Entry } from '../bus/entry.ts';
import type { JsonObject } from '../bus/event.ts';
import type { EventLog } from '../bus/event-log.ts';
import { GroupGoneError, type Groups } from '../bus/groups.ts';
import { AppError, describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { encodeJsonFrame, encodeRetry, KEEPALIVE, toBytes } from './encoder.ts';
import { type Checkpoint, GroupReader } from './group-reader.ts';
import type { Hub, Member } from './hub.ts';
import type { Opening, Recovery, Request, Standing } from './recovery.ts';
import type { Transport } from './transport.ts';
import { encodeEntries, type View } from './view.ts';
import type { Window } from './window.ts';

/** What a database snapshot is for a stream: the state, and the newest revision of the channel that it contains. */
export interface Snapshot {
  readonly revision: number;
  readonly data: JsonObject;
}

/** What a client subscribed to. */
export interface Subscription {
  readonly view: View;
  readonly request: Request;
  /** Reads the state that a fresh client starts from; absent on streams without one. */
  readonly snapshot?: () => Promise<Snapshot>;
  /** Ends after the snapshot or the missed events. */
  readonly once: boolean;
}

/** What all connections of a process share. */
export interface ConnectionParts {
  readonly log: Pick<EventLog, 'position'>;
  readonly groups: Pick<Groups, 'open' | 'read' | 'moveTo' | 'close'>;
  readonly hub: Pick<Hub, 'join' | 'leave' | 'epoch'>;
  readonly recovery: Recovery;
  readonly logger: Log;
  /** `retry:` for clients, in milliseconds; jittered for each connection. */
  readonly retryMs: number;
}

/** What is read before a stream starts, so that a failure can still be an answer with a status. */
export interface Prepared {
  /** Where the channel stands; `undefined` while Redis is down. */
  readonly standing: Standing | undefined;
  readonly opening: Opening | undefined;
  readonly snapshot: Snapshot | undefined;
}

export type ConnectionState = 'opening' | 'replaying' | 'live' | 'closed';

/** Bytes handed to a client at once. One that then takes nothing costs the process no more than this. */
const WRITE_BYTES = 64 * 1024;
const RETRY_MS = { first: 100, most: 2000 } as const;

/**
 * The state machine of one client's stream, whatever carries it: `opening → replaying ⇄ live → closed`. It holds an offset
 * and no queue. What it is due comes from the window while that covers the offset, from its consumer group otherwise.
 */
export class Connection implements Member {
  readonly id: string;
  readonly subscription: Subscription;
  readonly #parts: ConnectionParts;
  readonly #transport: Transport;
  readonly #onClose: () => void;
  readonly #group: GroupReader;
  #state: ConnectionState = 'opening';
  #window: Window | undefined;
  #breaks = 0;
  #epoch = '';
  #offset = 0;
  #sent = 0;
  #revision = 0;
  #onceUntil = 0;
  #running = false;
  #wroteAt = performance.now();

  /** @param onClose called once, when nothing will be sent any more */
  constructor(
    id: string,
    subscription: Subscription,
    parts: ConnectionParts,
    transport: Transport,
    onClose: () => void,
  ) {
    this.id = id;
    this.subscription = subscription;
    this.#parts = parts;
    this.#transport = transport;
    this.#onClose = onClose;
    this.#group = new GroupReader(parts.groups, id, subscription.view.channel, parts.logger);
  }

  get view(): View {
    return this.subscription.view;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get epoch(): string {
    return this.#epoch;
  }

  /** The newest event that this connection has sent or counted. */
  get offset(): number {
    return this.#offset;
  }

  /** Reads what the stream opens with. Position first, then the snapshot (invariant 5). */
  static async prepare(subscription: Subscription, parts: ConnectionParts, request: Request): Promise<Prepared> {
    const readerOffset = request.kind === 'from' ? request.cursor.offset : undefined;
    const standing = await parts.log.position(subscription.view.channel, readerOffset).catch((error: unknown) => {
      parts.logger.debug('a stream opens without the bus', { error: describeError(error) });
      return undefined;
    });
    const opening = standing && parts.recovery.open(request, standing);
    // With the bus down a fresh client gets its snapshot all the same; a returning one has its state already.
    const wantsSnapshot = opening === undefined ? request.kind !== 'from' : opening.kind !== 'resume';
    const snapshot = wantsSnapshot ? await subscription.snapshot?.() : undefined;
    return { standing, opening, snapshot };
  }

  /** Begins to write. The transport must be writable. */
  start(prepared: Prepared): void {
    if (this.#state === 'closed') return;
    this.#transport.onDrain = () => this.#drained();
    this.#window = this.#parts.hub.join(this);
    const prelude = encodeRetry(jitter(this.#parts.retryMs));
    this.#write([toBytes(prelude), KEEPALIVE, toBytes(this.#openWith(prepared))]);
    if (prepared.standing !== undefined) return this.#opened();
    // Once, with the bus down: the snapshot is all there is to have.
    if (this.subscription.once) return this.close('done');
    void this.#reopen(this.subscription.request);
  }

  onBatch(): void {
    if (this.#state !== 'live') return; // Replaying looks at the window by itself when it is done.
    this.#deliver();
    if (this.#isBehind()) this.#fallBack();
  }

  onBreak(epoch: string): void {
    this.#breaks += 1;
    if (this.#state === 'closed' || this.#state === 'opening') return; // Opening asks where the channel stands anyway.
    if (epoch !== this.#epoch) void this.#reopen(this.#position());
    else this.#fallBack();
  }

  /**
   * Called about once a second.
   * @param now milliseconds of `performance.now()`
   * @param keepaliveMs milliseconds without a frame before a keepalive
   */
  tick(now: number, keepaliveMs: number): void {
    if (now - this.#wroteAt < keepaliveMs || this.#state === 'closed' || !this.#transport.writable) return;
    this.#write([this.#quietFrame()]);
  }

  /** Where the group of a live connection should stand; `undefined` when it stands there. */
  takeCheckpoint(): Checkpoint | undefined {
    return this.#state === 'live' ? this.#group.takeCheckpoint(this.#offset) : undefined;
  }

  /** The group was found gone while nothing was read from it. */
  groupGone(): void {
    this.#group.gone();
    if (this.#state === 'live') void this.#reopen(this.#position());
  }

  /**
   * Ends the stream; safe to call again. Nothing leaves `closed`, and nothing is written from here on.
   * @param how `done`: a finished answer after all that was written, however long the client takes; `end`: the same, but dropped
   *   when the client is full or has not got what it asked for, because it can resume; `abort`: the socket is dropped; `gone`: it is
   */
  close(how: 'done' | 'end' | 'abort' | 'gone'): void {
    if (this.#state === 'closed') return;
    // A finished answer tells who asked for it `once` that it is complete.
    const isFinished = how === 'done' || (how === 'end' && !this.subscription.once && this.#transport.writable);
    this.#state = 'closed';
    this.#parts.hub.leave(this);
    void this.#group.close();
    // Until the client has taken it, it counts: what it was given is in memory.
    if (isFinished) this.#transport.end(toBytes(encodeRetry(jitter(this.#parts.retryMs))), this.#onClose);
    else {
      this.#transport.abort();
      this.#onClose();
    }
    this.#onWritable?.();
  }

  // --- opening -------------------------------------------------------------------------------------------------------

  /** Takes up the position that was read and says how the stream begins. */
  #openWith({ standing, opening, snapshot }: Prepared): string {
    // Without the bus there is no position: the snapshot goes out without an id, and again with one when it is back.
    if (standing === undefined || opening === undefined) return this.#startFrame(undefined, snapshot);
    this.#epoch = standing.epoch;
    this.#offset = opening.kind === 'resume' ? opening.offset : standing.offset;
    this.#sent = this.#offset;
    this.#revision = snapshot?.revision ?? 0;
    this.#onceUntil = standing.offset;
    this.#state = 'replaying';
    const position = formatCursor(standing);
    if (opening.kind === 'resume') {
      return encodeJsonFrame({ id: formatCursor(this.#cursor()), event: 'resumed', data: { position } });
    }
    const start = this.#startFrame(position, snapshot);
    if (opening.kind === 'snapshot') return start;
    return encodeJsonFrame({ event: 'reset', data: { reason: opening.reason } }) + start;
  }

  #startFrame(position: string | undefined, snapshot: Snapshot | undefined): string {
    const id = position === undefined ? {} : { id: position };
    if (snapshot !== undefined) return encodeJsonFrame({ ...id, event: 'snapshot', data: snapshot.data });
    if (position === undefined) return '';
    return encodeJsonFrame({ ...id, event: 'ready', data: { position } });
  }

  /** Opens again on the same stream: after the bus was away, the epoch changed or history turned out to be gone. */
  async #reopen(request: Request): Promise<void> {
    if (this.#isClosed()) return;
    this.#state = 'opening';
    for (let delay: number = RETRY_MS.first; this.#isOpening(); delay = Math.min(delay * 2, RETRY_MS.most)) {
      await this.#untilWritable();
      if (!this.#isOpening()) return;
      const prepared = await this.#prepareAgain(request);
      if (!this.#isOpening()) return;
      if (prepared?.standing !== undefined) {
        // An open stream whose place is still good goes on: the client has not noticed anything, and need not.
        if (this.#epoch !== '' && prepared.opening?.kind === 'resume') this.#state = 'replaying';
        else this.#write([toBytes(this.#openWith(prepared))]);
        return this.#opened();
      }
      await Bun.sleep(jitter(delay));
    }
  }

  async #prepareAgain(request: Request): Promise<Prepared | undefined> {
    try {
      return await Connection.prepare(this.subscription, this.#parts, request);
    } catch (error) {
      // What it streams has been deleted: the client is told so when it comes back.
      if (error instanceof AppError && error.code === 'not_found') this.close('end');
      else this.#parts.logger.warn('a stream waits for its snapshot', { error: describeError(error) });
      return undefined;
    }
  }

  #opened(): void {
    this.#endIfOnceIsDone();
    void this.#advance();
  }

  // --- replaying and live --------------------------------------------------------------------------------------------

  /** Runs until the connection is live, full or closed. One at a time. */
  async #advance(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    let delay: number = RETRY_MS.first;
    try {
      while (this.#state === 'replaying' && this.#transport.writable) {
        try {
          await this.#step();
          delay = RETRY_MS.first;
        } catch (error) {
          if (error instanceof GroupGoneError) return this.#historyGone();
          this.#parts.logger.debug('replay waits for redis', { error: describeError(error) });
          await Bun.sleep(jitter(delay));
          delay = Math.min(delay * 2, RETRY_MS.most);
        }
        this.#endIfOnceIsDone();
      }
    } finally {
      this.#running = false;
    }
    // What happened while the last step ended: a reopening that found this loop still running, or a drain.
    if (this.#state === 'replaying' && this.#transport.writable) void this.#advance();
  }

  async #step(): Promise<void> {
    const [epoch, offset, breaks] = [this.#epoch, this.#offset, this.#breaks];
    await this.#group.open(offset);
    if (this.#state !== 'replaying' || this.#epoch !== epoch || this.#offset !== offset) return;
    if (this.#dueNow() === 'memory') return this.#goLive();
    const entries = await this.#group.read(offset);
    // Reopened meanwhile: what was read belongs to another position. After a break an empty answer proves nothing: it
    // may be older than the events that the tail has missed.
    if (this.#state !== 'replaying' || this.#epoch !== epoch || this.#offset !== offset) return;
    if (this.#breaks !== breaks && entries.length === 0) return;
    if (entries.length > 0) return this.#sendHistory(entries);
    if (this.#dueNow() === 'history') return this.#historyGone();
    if (this.#parts.hub.epoch !== this.#epoch && (await this.#epochIsOver())) return;
    // The tail jumped while we asked: the empty answer is older than what it has missed.
    if (this.#breaks !== breaks) return;
    // No await since the check: no batch can come between it and the switch.
    if (this.#state === 'replaying' && this.#dueNow() !== 'history') this.#goLive();
  }

  #goLive(): void {
    this.#state = 'live';
    this.#deliver();
    if (this.#isBehind()) this.#fallBack();
  }

  /** Writes what the window holds for this connection, as long as the client takes it. */
  #deliver(): void {
    while (this.#window !== undefined && this.#transport.writable && this.#dueNow() === 'memory') {
      const state = { offset: this.#offset, sent: this.#sent, revision: this.#revision };
      const due = this.#window.due(state, WRITE_BYTES);
      this.#offset = due.state.offset;
      this.#sent = due.state.sent;
      if (due.chunks.length > 0) this.#write(due.chunks);
    }
    this.#endIfOnceIsDone();
  }

  #sendHistory(entries: readonly Entry[]): void {
    const next: Entry[] = [];
    let offset = this.#offset;
    for (const entry of entries) {
      const verdict = this.#parts.recovery.accept(offset, entry.offset);
      if (verdict === 'repeated') continue;
      // The offsets in between have been trimmed. What came before the hole is good; what follows is not sent.
      if (verdict === 'gap') break;
      next.push(entry);
      offset = entry.offset;
    }
    const state = { offset: this.#offset, sent: this.#sent, revision: this.#revision };
    const encoded = encodeEntries(this.view, this.#epoch, next, state);
    this.#offset = encoded.state.offset;
    this.#sent = encoded.state.sent;
    if (encoded.text !== '') this.#write([toBytes(encoded.text)]);
    if (next.length === 0 || this.#offset < (entries.at(-1)?.offset ?? 0)) this.#historyGone();
  }

  /** The log no longer has what comes next: ask where it stands, and be reset if that is so. */
  #historyGone(): void {
    void this.#reopen(this.#position());
  }

  /** The tail reads another epoch than this connection: one of the two is behind, and Redis knows which. */
  async #epochIsOver(): Promise<boolean> {
    const standing = await this.#parts.log.position(this.view.channel);
    if (standing.epoch === this.#epoch || this.#state !== 'replaying') return this.#state !== 'replaying';
    void this.#reopen(this.#position());
    return true;
  }

  #fallBack(): void {
    this.#state = 'replaying';
    void this.#advance();
  }

  /** Full, or no longer covered by the window: the log is the buffer. */
  #isBehind(): boolean {
    return this.#state === 'live' && this.#dueNow() === 'history';
  }

  #dueNow(): ReturnType<Recovery['due']> {
    const window = this.#window;
    const range = window?.epoch === this.#epoch ? window.range : undefined;
    return this.#parts.recovery.due(this.#offset, range);
  }

  #drained(): void {
    this.#onWritable?.();
    if (this.#state === 'live') this.onBatch();
    else if (this.#state === 'replaying') void this.#advance();
  }

  #endIfOnceIsDone(): void {
    if (this.subscription.once && this.#state !== 'opening' && this.#offset >= this.#onceUntil) this.close('done');
  }

  // --- writing -------------------------------------------------------------------------------------------------------

  #write(chunks: readonly Uint8Array[]): void {
    if (this.#isClosed()) return;
    const filled = chunks.filter((chunk) => chunk.length > 0);
    if (filled.length === 0) return;
    this.#wroteAt = performance.now();
    this.#transport.write(filled);
  }

  /** A keepalive; where events were counted that are not shown, the id moves on with a frame that clients remember. */
  #quietFrame(): Uint8Array {
    if (this.#state === 'opening' || this.#offset === this.#sent) return KEEPALIVE;
    const prev = formatCursor({ epoch: this.#epoch, offset: this.#sent });
    this.#sent = this.#offset;
    return toBytes(encodeJsonFrame({ id: formatCursor(this.#cursor()), event: 'position', data: { prev } }));
  }

  #onWritable: (() => void) | undefined;

  async #untilWritable(): Promise<void> {
    while (!this.#transport.writable && !this.#isClosed()) {
      await new Promise<void>((resolve) => {
        this.#onWritable = resolve;
      });
      this.#onWritable = undefined;
    }
  }

  #cursor(): Cursor {
    return { epoch: this.#epoch, offset: this.#offset };
  }

  #position(): Request {
    // Opened while the bus was down and never since: there is no position to continue from.
    return this.#epoch === '' ? this.subscription.request : { kind: 'from', cursor: this.#cursor() };
  }

  // Methods, because the state changes during an await and the compiler would not believe it.
  #isOpening(): boolean {
    return this.#state === 'opening';
  }

  #isClosed(): boolean {
    return this.#state === 'closed';
  }
}

/** 75 % to 125 % of a delay, so that what failed together does not come back together. */
function jitter(ms: number): number {
  return ms * (0.75 + Math.random() / 2);
}
