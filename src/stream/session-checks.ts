import type { Principal } from '../auth/principal.ts';
import type { RoleGate } from '../auth/rights.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { nextTurn } from './slices.ts';

interface Session<Stream> {
  readonly principal: Principal;
  readonly gate: RoleGate;
  readonly streams: Set<Stream>;
  /** When it was last found valid, in milliseconds of `performance.now()`. */
  checkedAt: number;
}

export interface SessionChecksParts {
  /** Whether streams of this session may go on: its user, session and role are still good. */
  readonly isStillValid: (principal: Principal, gate: RoleGate) => Promise<boolean>;
  readonly logger: Log;
}

/** A session is asked about again after so long, whether or not a revocation was heard of. */
const RECHECK_MS = 30_000;
/** Questions to the database at the same time. */
const AT_ONCE = 8;

/**
 * Asks again whether the sessions of open streams are good, and ends the streams of those that are not: one question for
 * each session, however many streams it has, and a few at a time, however many sessions there are.
 */
export class SessionChecks<Stream> {
  readonly #parts: SessionChecksParts;
  readonly #end: (stream: Stream) => void;
  readonly #byUser = new Map<string, Map<string, Session<Stream>>>();
  /** All of them, the one that was checked longest ago first. */
  readonly #oldestFirst = new Set<Session<Stream>>();
  /** To be asked about now, the first one first. */
  readonly #due = new Set<Session<Stream>>();
  readonly #runs = new Set<Promise<void>>();
  /** Runs that will look whether more is due. */
  #active = 0;
  #revocations = 0;
  /** Questions that failed in a row of them; the first one is logged. */
  #failures = 0;

  /** @param end ends a stream whose session has ended */
  constructor(parts: SessionChecksParts, end: (stream: Stream) => void) {
    this.#parts = parts;
    this.#end = end;
  }

  /** Revocations heard of so far: who authenticates takes note of it first, and {@link add} compares. */
  get revocations(): number {
    return this.#revocations;
  }

  /**
   * An open stream of a session.
   * @param heard {@link revocations} before the session was authenticated. One that came between then and now has found nothing
   *   to end, so the session is asked about once more
   */
  add(principal: Principal, gate: RoleGate, heard: number, stream: Stream): void {
    const key = `${principal.jti} ${gate}`;
    const sessions = this.#byUser.get(principal.userUuid) ?? new Map<string, Session<Stream>>();
    this.#byUser.set(principal.userUuid, sessions);
    let session = sessions.get(key);
    if (session === undefined) {
      session = { principal, gate, streams: new Set(), checkedAt: performance.now() };
      sessions.set(key, session);
      this.#oldestFirst.add(session);
    }
    session.streams.add(stream);
    if (heard !== this.#revocations) void this.#check([session]);
  }

  delete(principal: Principal, gate: RoleGate, stream: Stream): void {
    const sessions = this.#byUser.get(principal.userUuid);
    const session = sessions?.get(`${principal.jti} ${gate}`);
    session?.streams.delete(stream);
    if (sessions === undefined || session?.streams.size !== 0) return;
    sessions.delete(`${principal.jti} ${gate}`);
    this.#oldestFirst.delete(session);
    this.#due.delete(session);
    if (sessions.size === 0) this.#byUser.delete(principal.userUuid);
  }

  /**
   * A revocation was heard of, or may have been missed.
   * @param userUuid only the sessions of this user are asked about; all without it
   * @returns when they have been
   */
  recheck(userUuid?: string): Promise<void> {
    this.#revocations += 1;
    return this.#check(userUuid === undefined ? this.#oldestFirst : (this.#byUser.get(userUuid)?.values() ?? []));
  }

  /** Called about once a second: asks about those whose time has come, as many as keep up with all of them. */
  tick(now: number, tickMs: number): void {
    if (this.#due.size > 0) return; // What is under way comes first.
    let left = Math.ceil((2 * this.#oldestFirst.size * tickMs) / RECHECK_MS);
    const due: Session<Stream>[] = [];
    for (const session of this.#oldestFirst) {
      if (now - session.checkedAt < RECHECK_MS || left === 0) break;
      due.push(session);
      left -= 1;
    }
    if (due.length > 0) void this.#check(due);
  }

  async #check(sessions: Iterable<Session<Stream>>): Promise<void> {
    for (const session of sessions) this.#due.add(session);
    while (this.#active < Math.min(AT_ONCE, this.#due.size)) {
      const run = this.#run().finally(() => this.#runs.delete(run));
      this.#runs.add(run);
    }
    await Promise.all(this.#runs);
  }

  async #run(): Promise<void> {
    this.#active += 1;
    for (const session of this.#due) {
      this.#due.delete(session);
      await this.#ask(session);
      // An embedded database answers without a turn of the event loop: many answers would be one long pause.
      await nextTurn();
    }
    // In the same moment that it finds nothing more: what is due from here on finds one run less.
    this.#active -= 1;
    if (this.#active === 0) this.#failures = 0;
  }

  async #ask(session: Session<Stream>): Promise<void> {
    try {
      const isValid = await this.#parts.isStillValid(session.principal, session.gate);
      if (!isValid) for (const stream of [...session.streams]) this.#end(stream);
    } catch (error) {
      // Database down: running streams go on (design, "Redis down"); the next round asks again.
      this.#failures += 1;
      if (this.#failures === 1) {
        this.#parts.logger.warn('a session could not be checked', { error: describeError(error) });
      }
    }
    session.checkedAt = performance.now();
    if (this.#oldestFirst.delete(session)) this.#oldestFirst.add(session);
  }
}
