import type { HeaderAuthenticator } from './guard.ts';
import type { Principal } from './principal.ts';

export interface SessionMemoOptions {
  /** Whether revocations are heard of at this moment: the tail has read all that there is. */
  readonly isCurrent: () => boolean;
  /** Sessions that are remembered; default 5000. */
  readonly most?: number;
  /** Bytes that they take, about; default 4 MiB. */
  readonly mostBytes?: number;
  /** Milliseconds after which a session is asked about again, whatever was heard; default 5 s. */
  readonly maxAgeMs?: number;
}

interface Known {
  readonly principal: Principal;
  readonly bytes: number;
  /** When it was asked about, in milliseconds of `performance.now()`. */
  readonly since: number;
}

const MOST = 5000;
const MOST_BYTES = 4 * 1024 * 1024;
const MAX_AGE_MS = 5000;
/** What a session takes beside its key. */
const ENTRY_BYTES = 512;

/**
 * Remembers whom a credential stands for, so that a producer's next event needs no query. A revocation bites at once: it
 * is an event that every node hears of, and what it concerns is forgotten then ({@link forget}). Where nobody would hear
 * of one, because the bus is away or the tail behind, nothing that is remembered counts. What a revocation may have
 * crossed on its way is not remembered. Should the relay itself hang, an answer is worth no more than a few seconds.
 */
export class SessionMemo implements HeaderAuthenticator {
  readonly #authenticator: HeaderAuthenticator;
  readonly #isCurrent: () => boolean;
  readonly #most: number;
  readonly #mostBytes: number;
  readonly #maxAgeMs: number;
  /** The one that was remembered first comes first. */
  readonly #known = new Map<string, Known>();
  #bytes = 0;
  /** Changes with every revocation: answers that were asked for before it are not remembered. */
  #turn = 0;

  constructor(
    authenticator: HeaderAuthenticator,
    { isCurrent, most = MOST, mostBytes = MOST_BYTES, maxAgeMs = MAX_AGE_MS }: SessionMemoOptions,
  ) {
    this.#authenticator = authenticator;
    this.#isCurrent = isCurrent;
    this.#most = most;
    this.#mostBytes = mostBytes;
    this.#maxAgeMs = maxAgeMs;
  }

  /**
   * Whom an `Authorization` header stands for.
   * @throws {AppError} as {@link HeaderAuthenticator.authenticateHeader}
   */
  async authenticateHeader(authorization: string | undefined): Promise<Principal> {
    const key = authorization ?? '';
    const known = this.#known.get(key);
    if (known !== undefined && this.#isGood(known)) return known.principal;
    const [turn, since] = [this.#turn, performance.now()];
    const principal = await this.#authenticator.authenticateHeader(authorization);
    if (turn === this.#turn && this.#isCurrent()) this.#remember(key, principal, since);
    return principal;
  }

  /** @param userUuid whose sessions may have ended; anybody's without it */
  forget(userUuid?: string): void {
    this.#turn += 1;
    for (const [key, { principal }] of this.#known) {
      if (userUuid === undefined || principal.userUuid === userUuid) this.#drop(key);
    }
  }

  #isGood({ principal, since }: Known): boolean {
    return this.#isCurrent() && performance.now() - since < this.#maxAgeMs && principal.expiresAt > Date.now();
  }

  #remember(key: string, principal: Principal, since: number): void {
    this.#drop(key);
    const bytes = 2 * (key.length + principal.username.length) + ENTRY_BYTES;
    if (bytes > this.#mostBytes) return;
    for (const oldest of this.#known.keys()) {
      if (this.#known.size < this.#most && this.#bytes + bytes <= this.#mostBytes) break;
      this.#drop(oldest);
    }
    this.#known.set(key, { principal, bytes, since });
    this.#bytes += bytes;
  }

  #drop(key: string): void {
    const known = this.#known.get(key);
    if (known === undefined) return;
    this.#bytes -= known.bytes;
    this.#known.delete(key);
  }
}
