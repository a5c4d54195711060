import type { Batch } from '../bus/entry.ts';
import type { TailListener } from '../bus/tail.ts';
import { describeError } from '../errors.ts';
import { createLog, type Log } from '../telemetry/log.ts';
import { FanOut, type Tell } from './fan-out.ts';
import type { Look } from './view.ts';
import { Window } from './window.ts';

/** What the hub knows of a connection. */
export interface Member extends Look {
  /** The window has more: one batch, or several. At once, or a little later when the process is busy. */
  onBatch(): void;
  /**
   * Batches were missed; `epoch` holds from here on. May come later than the break, but never after {@link onBatch} told of what
   * followed it; the window is empty from the moment of the break.
   */
  onBreak(epoch: string): void;
  /** The tail reads on over a new connection, perhaps from another server. Must not throw. */
  onReconnect(): void;
}

interface Audience {
  readonly window: Window;
  readonly members: Set<Member>;
  /** When the last member left, in milliseconds of `performance.now()`. */
  emptySince: number;
}

/** Channels of which is known when their last batch came. */
const MOST_MARKS = 5000;

/** How long a window outlives its last reader: a restart of a proxy brings them all back within seconds. */
const LINGER_MS = 30_000;

const tellBatch: Tell<Member> = { rank: 0, to: (member) => member.onBatch() };
/** In place of a batch that came before it, too. */
const tellReconnect: Tell<Member> = {
  rank: 1,
  to(member) {
    member.onReconnect();
    member.onBatch();
  },
};

/** Fans what the tail reads out to the connections of this process: one window for each view and framing, encoded once. */
export class Hub implements TailListener {
  readonly #windowBytes: number;
  readonly #logger: Log;
  readonly #fanOut: FanOut<Member>;
  readonly #channels = new Map<string, Map<string, Audience>>();
  /** Channel → number of its last batch, the one that was longest ago first. */
  readonly #marks = new Map<string, number>();
  #batches = 0;
  /** What holds of channels that are not among the marks. */
  #oldMark = 0;
  #epoch = '';
  #generation = 0;

  /** @param windowBytes encoded bytes of recent frames to keep for each view and framing */
  constructor(windowBytes: number, logger: Log = createLog('error'), fanOut = new FanOut<Member>(logger)) {
    this.#windowBytes = windowBytes;
    this.#logger = logger;
    this.#fanOut = fanOut;
  }

  /** The epoch that the tail reads; empty before it has begun. */
  get epoch(): string {
    return this.#epoch;
  }

  /**
   * Changes whenever the log may have been replaced: the tail has a new connection, or what it reads is broken. What the
   * log said before it has to say again.
   */
  get generation(): number {
    return this.#generation;
  }

  /** Has changed when a batch of the channel has come in between; perhaps also otherwise. */
  markOf(channel: string): number {
    return this.#marks.get(channel) ?? this.#oldMark;
  }

  /** From the return on, no batch of the member's channel is missed. */
  join(member: Member): Window {
    const [{ channel }, key] = [member.view, keyOf(member)];
    const audiences = this.#channels.get(channel) ?? new Map<string, Audience>();
    this.#channels.set(channel, audiences);
    const audience = audiences.get(key) ?? this.#audience(member);
    audiences.set(key, audience);
    audience.members.add(member);
    return audience.window;
  }

  leave(member: Member): void {
    const audience = this.#channels.get(member.view.channel)?.get(keyOf(member));
    audience?.members.delete(member);
    if (audience?.members.size !== 0) return;
    // What clients put together themselves does not linger: there is no end to it, and every event would pass them all.
    if (member.view.filtered) this.#forget(member);
    else audience.emptySince = performance.now();
  }

  onBatch(batch: Batch): void {
    this.#epoch = batch.epoch;
    this.#mark(batch.channel);
    for (const { window, members } of this.#channels.get(batch.channel)?.values() ?? []) {
      try {
        if (window.append(batch)) this.#fanOut.tell(members, tellBatch);
        else this.#breakAudience(members);
      } catch (error) {
        // Its members get from the log what the window does not have.
        this.#logger.error('a batch could not be encoded', { error: describeError(error) });
        window.clear();
        this.#breakAudience(members);
      }
    }
  }

  onBreak(epoch: string): void {
    this.#epoch = epoch;
    this.#generation += 1;
    for (const audiences of this.#channels.values()) {
      for (const { window, members } of audiences.values()) {
        window.clear();
        this.#fanOut.tellInstead(members, this.#tellBreak);
      }
    }
  }

  #breakAudience(members: ReadonlySet<Member>): void {
    this.#generation += 1;
    this.#fanOut.tellInstead(members, this.#tellBreak);
  }

  onReconnect(): void {
    this.#generation += 1;
    for (const audiences of this.#channels.values()) {
      for (const { members } of audiences.values()) this.#fanOut.tell(members, tellReconnect);
    }
  }

  /** With the epoch of the moment: after two breaks in a row the first one says nothing. */
  readonly #tellBreak: Tell<Member> = { rank: 2, to: (member) => member.onBreak(this.#epoch) };

  /** Forgets windows that nobody has read for a while. */
  sweep(now = performance.now()): void {
    for (const [channel, audiences] of this.#channels) {
      for (const [key, { members, emptySince }] of audiences) {
        if (members.size === 0 && now - emptySince > LINGER_MS) audiences.delete(key);
      }
      if (audiences.size === 0) this.#channels.delete(channel);
    }
  }

  #mark(channel: string): void {
    this.#batches += 1;
    this.#marks.delete(channel);
    this.#marks.set(channel, this.#batches);
    const [oldest] = this.#marks.keys();
    if (oldest === undefined || this.#marks.size <= MOST_MARKS) return;
    this.#marks.delete(oldest);
    this.#oldMark = this.#batches;
  }

  #forget(look: Look): void {
    const { channel } = look.view;
    const audiences = this.#channels.get(channel);
    audiences?.delete(keyOf(look));
    if (audiences?.size === 0) this.#channels.delete(channel);
  }

  #audience(look: Look): Audience {
    return { window: new Window(look, this.#windowBytes), members: new Set(), emptySince: 0 };
  }
}

function keyOf({ view, framing }: Look): string {
  return `${framing.name} ${view.key}`;
}
