import { formatCursor, NO_PROOF, type Place } from '../bus/cursor.ts';
import type { Entry } from '../bus/entry.ts';
import { GroupGoneError } from '../bus/groups.ts';
import { AppError, describeError } from '../errors.ts';
import { type FrameHead, type Framing, jsonFrame, toBytes } from './framing.ts';
import { type Checkpoint, GroupReader } from './group-reader.ts';
import type { Member } from './hub.ts';
import { encodeHistory } from './large-events.ts';
import { askPosition, type Prepared, prepareOpening } from './preparation.ts';
import type { Recovery, Resumption, Standing } from './recovery.ts';
import type { EncodedSnapshot } from './shared-snapshots.ts';
import type { ConnectionParts, Subscription } from './subscription.ts';
import type { Transport } from './transport.ts';
import type { ChainState, View } from './view.ts';
import type { Window } from './window.ts';

export type ConnectionState = 'opening' | 'replaying' | 'live' | 'closed';

/** Bytes handed to a client at once. One that then takes nothing costs the process no more than this. */
const WRITE_BYTES = 64 * 1024;
const RETRY_MS = { first: 100, most: 2000 } as const;
/** Told to a client whose slot another one of the same user has taken. */
const EVICTED = 'Another of your streams took this slot; close one to come back';
/** Before anything is known of the channel. */
const START: Place = { offset: 0, proof: NO_PROOF, revision: 0 };

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
  #reopenings = 0;
  #epoch = '';
  /** The newest event that is counted: sent, not shown, or contained in the snapshot. */
  #at: Place = START;
  /** The place that the id of the newest frame names. */
  #sent: Place = START;
  /** From this offset on no event is contained in the client's snapshot. */
  #containedUntil = Number.POSITIVE_INFINITY;
  #onceUntil = 0;
  /** All events after this offset come through the window: it was joined before the log was asked, or no batch came between. */
  #followedFrom = Number.POSITIVE_INFINITY;
  #running = false;
  #wroteAt = performance.now();
  #toldAsideAt = Number.NEGATIVE_INFINITY;

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

  get framing(): Framing {
    return this.#transport.framing;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get epoch(): string {
    return this.#epoch;
  }

  /** The newest event that this connection has sent or counted. */
  get offset(): number {
    return this.#at.offset;
  }

  /** Begins to write. The transport must be writable. */
  start(prepared: Prepared): void {
    if (this.#state === 'closed') return;
    this.#transport.onDrain = () => this.#drained();
    this.#window = this.#parts.hub.join(this);
    // What came before it joined may be newer than the position that it was told.
    const hasMissed = prepared.mark !== this.#parts.hub.markOf(this.view.channel);
    this.#write([this.framing.prelude(jitter(this.#parts.retryMs)), ...this.#openWith(prepared)]);
    if (prepared.standing !== undefined) {
      return this.#isOfNow(prepared) ? this.#opened(prepared.standing, hasMissed) : this.onBreak();
    }
    // Once, with the bus down: the snapshot is all there is to have.
    if (this.subscription.once) return this.close('done');
    void this.#reopen(this.#resumption());
  }

  onBatch(): void {
    if (this.#state !== 'live') return; // Replaying looks at the window by itself when it is done.
    this.#deliver();
    if (this.#isBehind()) this.#fallBack();
  }

  onBreak(): void {
    if (this.#state === 'closed' || this.#state === 'opening') return; // Opening asks where the channel stands anyway.
    // What it has read by itself may be ahead of what the tail saw, and lost with the rest: its place is to be proved.
    void this.#reopen(this.#resumption());
  }

  onReconnect(): void {
    // What came through the window is proved by the tail, which has just proved its own place. What this connection
    // has read by itself may have been lost since.
    if (!this.#isInWindow()) this.onBreak();
  }

  /**
   * Called about once a second.
   * @param now milliseconds of `performance.now()`
   * @param keepaliveMs milliseconds without a frame before a keepalive
   */
  tick(now: number, keepaliveMs: number): void {
    this.#tellAside(now);
    if (now - this.#wroteAt < keepaliveMs || this.#state === 'closed' || !this.#transport.writable) return;
    this.#write([this.#quietFrame()]);
  }

  /** Where the group of a live connection should stand; `undefined` when it stands there. */
  takeCheckpoint(): Checkpoint | undefined {
    return this.#state === 'live' ? this.#group.takeCheckpoint(this.#at.offset) : undefined;
  }

  /**
   * A connection that lives has a consumer group, also where memory has given it everything so far. Not in its first moments:
   * many of those who come go again, and all come back at once.
   * @returns true when one was missing
   */
  ensureGroup(): boolean {
    if (this.#state !== 'live' || this.#group.isOpen) return false;
    this.#group.open(this.#at.offset).catch((error: unknown) => {
      if (error instanceof GroupGoneError) this.groupGone();
      // Redis is away: the next look finds it missing.
      else this.#parts.logger.debug('a consumer group waits for redis', { error: describeError(error) });
    });
    return true;
  }

  /** The group was found gone while nothing was read from it. */
  groupGone(): void {
    this.#group.gone();
    if (this.#state === 'live') void this.#reopen(this.#resumption());
  }

  /** Its slot went to another connection of the user: the client is told, and that it may not take one itself. */
  evict(): void {
    if (this.#state === 'closed') return;
    // Whoever takes nothing is what it was taken for: half dead.
    if (!this.#transport.writable) return this.close('abort');
    const place = this.#epoch === '' ? {} : { id: formatCursor({ epoch: this.#epoch, ...this.#sent, evicted: true }) };
    this.#write([this.#frame({ ...place, event: 'evicted' }, { detail: EVICTED })]);
    this.close('done');
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
    if (isFinished) this.#transport.end(this.framing.farewell(jitter(this.#parts.retryMs)), this.#onClose);
    else {
      this.#transport.abort();
      this.#onClose();
    }
    this.#onWritable?.();
  }

  // --- opening -------------------------------------------------------------------------------------------------------

  /** Takes up the position that was read and says how the stream begins. */
  #openWith({ standing, opening, snapshot, start }: Prepared): Uint8Array[] {
    const reset = opening?.kind === 'reset' ? [this.#frame({ event: 'reset' }, { reason: opening.reason })] : [];
    // Without the bus there is no position: the snapshot goes out without an id, and again with one when it is back.
    if (standing === undefined) return [...reset, ...this.#startFrame(undefined, snapshot)];
    const { epoch, offset, proof } = standing;
    const position: Place = { offset, proof, revision: 0 };
    this.#epoch = epoch;
    const from = { ...(start ?? position), revision: snapshot?.revision ?? 0 };
    this.#at = opening?.kind === 'resume' ? opening.place : from;
    this.#sent = this.#at;
    this.#containedUntil = containedUntil(this.#at, standing);
    this.#onceUntil = offset;
    this.#state = 'replaying';
    if (opening?.kind === 'resume') {
      return [this.#frame({ id: this.#id(), event: 'resumed' }, { position: formatCursor({ epoch, ...position }) })];
    }
    return [...reset, ...this.#startFrame(this.#id(), snapshot)];
  }

  #startFrame(id: string | undefined, snapshot: EncodedSnapshot | undefined): readonly Uint8Array[] {
    const place = id === undefined ? {} : { id };
    const event = this.view.snapshotEvent ?? 'snapshot';
    if (snapshot !== undefined) return this.framing.around({ ...place, event }, snapshot.data);
    if (id === undefined) return [];
    return [this.#frame({ id, event: 'ready' }, { position: id })];
  }

  /**
   * Opens again on the same stream: after the bus was away, the log was replaced or history turned out to be gone. Of
   * several the newest counts, and none brings a closed connection back.
   */
  async #reopen(request: Resumption): Promise<void> {
    if (this.#isClosed()) return;
    this.#state = 'opening';
    this.#reopenings += 1;
    const turn = this.#reopenings;
    const isOver = () => this.#state !== 'opening' || this.#reopenings !== turn;
    for (let delay: number = RETRY_MS.first; !isOver(); delay = Math.min(delay * 2, RETRY_MS.most)) {
      await this.#untilWritable();
      if (isOver()) return;
      const prepared = await this.#prepareAgain(request);
      if (isOver()) return;
      if (prepared !== undefined && !this.#isOfNow(prepared)) continue;
      if (prepared?.standing !== undefined) {
        // An open stream whose place is still good goes on: the client has not noticed anything, and need not.
        if (this.#epoch !== '' && prepared.opening?.kind === 'resume')
          this.#goOnFrom(prepared.opening.place, prepared.standing);
        else this.#write(this.#openWith(prepared));
        return this.#opened(prepared.standing, false);
      }
      await Bun.sleep(jitter(delay));
    }
  }

  #goOnFrom(place: Place, standing: Standing): void {
    // What was counted since the newest frame is lost, and nobody was shown any of it.
    if (place.offset < this.#at.offset) this.#at = this.#sent;
    this.#containedUntil = containedUntil(this.#at, standing);
    // What is lost does not come: other events may never have its numbers.
    this.#onceUntil = Math.min(this.#onceUntil, standing.offset);
    this.#state = 'replaying';
  }

  /** The log was not replaced while it was asked: otherwise the answer may be of the one before. */
  #isOfNow({ generation }: Prepared): boolean {
    return generation === this.#parts.hub.generation;
  }

  async #prepareAgain(request: Resumption): Promise<Prepared | undefined> {
    try {
      return await this.#prepareFrom(request);
    } catch (error) {
      // What it streams has been deleted: the client is told so when it comes back.
      if (error instanceof AppError && error.code === 'not_found') this.close('end');
      else this.#parts.logger.warn('a stream waits for its snapshot', { error: describeError(error) });
      return undefined;
    }
  }

  /**
   * A log that came back older may lack what was only counted, and hold the place that the client knows of: its cursor is to be
   * honoured (invariant 4), as if it came back with it.
   */
  async #prepareFrom(request: Resumption): Promise<Prepared> {
    const { subscription } = this;
    const asked = askPosition(subscription, this.#parts, request);
    const standing = await asked.standing;
    const hasCounted = this.#epoch !== '' && this.#sent.offset < this.#at.offset;
    const isGood = standing === undefined || this.#parts.recovery.open(request, standing).kind === 'resume';
    if (isGood || !hasCounted) return prepareOpening(subscription, this.#parts, request, { isOpen: true, asked });
    return prepareOpening(subscription, this.#parts, this.#resumption(this.#sent), { isOpen: true });
  }

  /** @param hasMissed whether events may have passed the window between the asking and the joining */
  #opened(standing: Standing, hasMissed: boolean): void {
    this.#tellAside(Number.POSITIVE_INFINITY);
    this.#followedFrom = hasMissed ? Number.POSITIVE_INFINITY : standing.offset;
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
    const [epoch, at, { generation }] = [this.#epoch, this.#at, this.#parts.hub];
    const due = this.#dueNow();
    if (due === 'memory' || (due === 'nothing' && this.#isFollowed())) return this.#goLive();
    const entries = await this.#group.read(at.offset);
    // Reopened meanwhile: what was read belongs to another position. After a break an empty answer proves nothing: it
    // may be older than the events that the tail has missed.
    if (this.#state !== 'replaying' || this.#epoch !== epoch || this.#at !== at) return;
    if (this.#parts.hub.generation !== generation && entries.length === 0) return;
    if (entries.length > 0) return this.#sendHistory(entries);
    // Memory does not continue what the client has, nor does the log: one of the three is behind, and the log knows which.
    if (this.#dueNow() === 'history') {
      if (await this.#isOver()) return;
      throw new Error('the tail has not noticed yet that the log was replaced');
    }
    if (this.#parts.hub.epoch !== this.#epoch && (await this.#isOver())) return;
    // The tail jumped while we asked: the empty answer is older than what it has missed.
    if (this.#parts.hub.generation !== generation) return;
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
      const due = this.#window.due({ at: this.#at, sent: this.#sent }, WRITE_BYTES);
      this.#moveTo(due.state);
      if (due.chunks.length > 0) this.#write(due.chunks);
    }
    this.#endIfOnceIsDone();
  }

  #sendHistory(entries: readonly Entry[]): void {
    const next: Entry[] = [];
    let at: Pick<Place, 'offset' | 'proof'> = this.#at;
    for (const entry of entries) {
      const verdict = this.#parts.recovery.accept(at, entry);
      if (verdict === 'repeated') continue;
      // The offsets in between have been trimmed, or the log was replaced by an older one. What came before the hole is
      // good; what follows is not sent.
      if (verdict === 'gap') break;
      next.push(entry);
      at = entry;
    }
    const { chunks, state } = encodeHistory(this, this.#epoch, next, { at: this.#at, sent: this.#sent });
    this.#moveTo(state);
    this.#write(chunks);
    if (next.length === 0 || this.#at.offset < (entries.at(-1)?.offset ?? 0)) this.#historyGone();
  }

  #moveTo({ at, sent }: ChainState): void {
    this.#at = at.revision !== 0 && at.offset >= this.#containedUntil ? { ...at, revision: 0 } : at;
    this.#sent = sent;
  }

  /** The log no longer has what comes next: ask where it stands, and be reset if that is so. */
  #historyGone(): void {
    void this.#reopen(this.#resumption());
  }

  /** Asks the log whether the client's place is still good; opens again when it is not. */
  async #isOver(): Promise<boolean> {
    const [epoch, at, request] = [this.#epoch, this.#at, this.#resumption()];
    const standing = await this.#parts.eventLog.position(this.view.channel, at.offset);
    // Opened again meanwhile: the answer is about a place that the client has left.
    if (this.#state !== 'replaying' || this.#epoch !== epoch || this.#at !== at) return true;
    if (this.#parts.recovery.open(request, standing).kind === 'resume') return false;
    void this.#reopen(request);
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
    const due = this.#parts.recovery.due(this.#at.offset, range);
    if (due === 'history' || range === undefined || this.#at.offset > range.last) return due;
    // Where the window does not continue what the client has, the log was replaced: its history says so.
    return this.#isInWindow() ? due : 'history';
  }

  /** Nothing is missing before what the window will bring: no history needs to be asked for it. */
  #isFollowed(): boolean {
    if (this.#parts.hub.epoch !== this.#epoch) return false;
    // A window that holds nothing proves nothing.
    return this.#window?.range === undefined ? this.#at.offset >= this.#followedFrom : this.#isInWindow();
  }

  /** The window holds the place where the client stands. */
  #isInWindow(): boolean {
    const window = this.#window;
    if (window === undefined || window.epoch !== this.#epoch) return false;
    return this.#parts.recovery.proves(this.#at.proof, window.proofOf(this.#at.offset) ?? '');
  }

  #drained(): void {
    this.#onWritable?.();
    if (this.#state === 'live') this.onBatch();
    else if (this.#state === 'replaying') void this.#advance();
  }

  #endIfOnceIsDone(): void {
    if (this.subscription.once && this.#state !== 'opening' && this.#at.offset >= this.#onceUntil) this.close('done');
  }

  // --- writing -------------------------------------------------------------------------------------------------------

  #write(chunks: readonly Uint8Array[]): void {
    if (this.#isClosed()) return;
    const filled = chunks.length === 1 ? chunks : chunks.filter((chunk) => chunk.length > 0);
    if (filled.length === 0) return;
    this.#wroteAt = performance.now();
    this.#transport.write(filled);
  }

  #frame(head: FrameHead, data: unknown): Uint8Array {
    return jsonFrame(this.framing, head, data);
  }

  /** A keepalive; where events were counted that are not shown, the id moves on with a frame that clients remember. */
  #quietFrame(): Uint8Array {
    if (this.#state === 'opening' || this.#at.offset === this.#sent.offset) return this.framing.keepalive;
    const prev = formatCursor({ epoch: this.#epoch, ...this.#sent });
    this.#sent = this.#at;
    return this.#frame({ id: this.#id(), event: 'position' }, { prev });
  }

  /** What is told beside the events, when it is time. It names no place: that the id of a quiet stream moves on is the keepalive's. */
  #tellAside(now: number): void {
    const { aside } = this.subscription;
    if (aside === undefined || this.#state === 'opening' || this.#isClosed() || !this.#transport.writable) return;
    if (now - this.#toldAsideAt < aside.everyMs) return;
    const frames = aside.frames();
    if (frames.length === 0) return;
    this.#toldAsideAt = Number.isFinite(now) ? now : performance.now();
    const event = this.view.snapshotEvent;
    this.#transport.write(frames.map((data) => toBytes(this.framing.frame({ event }, data))));
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

  #id(): string {
    return formatCursor({ epoch: this.#epoch, ...this.#at });
  }

  /** What it continues from when it opens again. */
  #resumption(place = this.#at): Resumption {
    if (this.#epoch !== '') return { kind: 'from', cursor: { epoch: this.#epoch, ...place } };
    // Opened while the bus was down and never since: there is no position to continue from. That its cursor is none the
    // client has been told.
    return this.subscription.request.kind === 'malformed' ? { kind: 'fresh' } : this.subscription.request;
  }

  // A method, because the state changes during an await and the compiler would not believe it.
  #isClosed(): boolean {
    return this.#state === 'closed';
  }
}

/**
 * The offset from which on no event is contained in a client's snapshot. Within a channel revisions rise with offsets: once the
 * log has reached that of the snapshot, no later event has one that it contains. A log that came back older has to reach it again.
 */
function containedUntil({ revision }: Place, standing: Standing): number {
  return standing.revision >= revision ? standing.offset : Number.POSITIVE_INFINITY;
}

/** 75 % to 125 % of a delay, so that what failed together does not come back together. */
function jitter(ms: number): number {
  return ms * (0.75 + Math.random() / 2);
}
