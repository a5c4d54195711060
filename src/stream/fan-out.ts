import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';

/** What there is for a member. */
export interface Tell<Member> {
  /** Of two that are due the one of the higher rank is told: it says what the other does, and more. */
  readonly rank: number;
  readonly to: (member: Member) => void;
}

/** A walk over the members of one audience, which may take many slices. */
interface Round<Member> {
  readonly members: ReadonlySet<Member>;
  /** Who has not been told yet. A set's iterator goes on over joining and leaving. */
  left: IterableIterator<Member>;
  tell: Tell<Member>;
  /** What has come since the round began: those who were told already have to be told again. */
  next: Tell<Member> | undefined;
  startedAt: number;
  failures: number;
}

export interface FanOutLimits {
  /** Milliseconds of serving before everything else in the process has its turn. */
  readonly sliceMs: number;
  /** The longest pause of an audience after a round, in milliseconds. */
  readonly restMs: number;
}

/** A slice may hold up each step of a request; a request has some five of them. */
const LIMITS: FanOutLimits = { sliceMs: 1, restMs: 30 };
/** Members served between two looks at the clock, and before it is another audience's turn. */
const PORTION = 8;
/** A turn of the event loop in which nobody else had work takes less. */
const QUIET_TURN_MS = 0.1;
/** Between two slices while others are at work: a few steps of a request. */
const GAP_MS = 1;
/** A timer is no finer. */
const SHORTEST_REST_MS = 1;

/**
 * Tells the members of audiences that there is something for them: a few milliseconds at a time, in turn, so that an audience
 * of thousands holds up neither requests nor other audiences. Whoever is told late finds all that has come meanwhile, so
 * that under load one write carries many events. What comes in an idle moment is told at once.
 */
export class FanOut<Member> {
  readonly #logger: Log;
  readonly #limits: FanOutLimits;
  readonly #rounds = new Map<ReadonlySet<Member>, Round<Member>>();
  /** The rounds that go on now, the next one first. */
  readonly #queue = new Set<Round<Member>>();
  /** A slice is due or under way. */
  #awake = false;

  constructor(logger: Log, limits: FanOutLimits = LIMITS) {
    this.#logger = logger;
    this.#limits = limits;
  }

  /** Every member is told, also those who have just been told something else. */
  tell(members: ReadonlySet<Member>, tell: Tell<Member>): void {
    if (members.size === 0) return;
    const round = this.#rounds.get(members);
    if (round === undefined) this.#begin(members, tell);
    else if (round.next === undefined || round.next.rank < tell.rank) round.next = tell;
  }

  /** The same, in place of what they have not been told yet. */
  tellInstead(members: ReadonlySet<Member>, tell: Tell<Member>): void {
    const round = this.#rounds.get(members);
    if (round !== undefined) this.#end(round);
    if (members.size > 0) this.#begin(members, tell);
  }

  #begin(members: ReadonlySet<Member>, tell: Tell<Member>): void {
    const startedAt = performance.now();
    const round = { members, left: members.values(), tell, next: undefined, startedAt, failures: 0 };
    this.#rounds.set(members, round);
    this.#queue.add(round);
    this.#wake();
  }

  #end(round: Round<Member>): void {
    this.#rounds.delete(round.members);
    this.#queue.delete(round);
  }

  #wake(): void {
    if (this.#awake) return;
    this.#awake = true;
    this.#slice();
  }

  #slice(): void {
    const end = performance.now() + this.#limits.sliceMs;
    // Who is put back at the end of the queue comes again in this loop.
    for (const round of this.#queue) {
      this.#queue.delete(round);
      if (this.#serve(round)) this.#queue.add(round);
      else this.#finish(round);
      if (performance.now() >= end) break;
    }
    const endedAt = performance.now();
    // Sockets are looked at between two immediates (and not between two messages of a channel).
    setImmediate(() => {
      if (this.#queue.size === 0) this.#awake = false;
      // Somebody else had work to do. What comes of it, an answer of Redis or the next request, finds the process free.
      else if (performance.now() - endedAt > QUIET_TURN_MS) setTimeout(() => this.#slice(), GAP_MS);
      else this.#slice();
    });
  }

  /** @returns whether some are left */
  #serve(round: Round<Member>): boolean {
    for (let count = 0; count < PORTION; count += 1) {
      const { done, value } = round.left.next();
      if (done) return false;
      try {
        round.tell.to(value);
      } catch (error) {
        round.failures += 1;
        if (round.failures === 1) this.#logger.error('a stream could not be served', { error: describeError(error) });
      }
    }
    return true;
  }

  #finish(round: Round<Member>): void {
    if (this.#rounds.get(round.members) !== round) return; // Its members are told something else instead.
    // A delivery costs a system call however many events it carries: half as long again without serving saves up to a third of
    // the work, and is left to everything else.
    const restMs = Math.min(this.#limits.restMs, (performance.now() - round.startedAt) / 2);
    if (restMs < SHORTEST_REST_MS) this.#goOn(round);
    else setTimeout(() => this.#goOn(round), restMs);
  }

  #goOn(round: Round<Member>): void {
    if (this.#rounds.get(round.members) !== round) return; // A break came while it rested.
    if (round.next === undefined) return this.#end(round);
    round.tell = round.next ?? round.tell;
    round.next = undefined;
    round.left = round.members.values();
    round.startedAt = performance.now();
    round.failures = 0;
    this.#queue.add(round);
    this.#wake();
  }
}
