import type { Redis } from 'ioredis';
import { AppError } from '../errors.ts';

/** Wrong passwords for one account, from wherever, that cost nothing but themselves. */
export const FREE_FAILURES = 10;
/** The first wait; each further failure doubles it. */
const FIRST_DELAY_MS = 250;
const MAX_DELAY_MS = 4000;
/** Attempts on one account that may be under way or wait, in this process: with {@link MAX_DELAY_MS}, two guesses a second. */
export const ACCOUNT_SLOTS = 8;
/** The same over all accounts. */
export const ALL_SLOTS = 1024;
/** An address from which the account was signed in to is trusted with it for so long. */
const KNOWN_SECONDS = 30 * 24 * 3600;

export interface AccountBrakeParts {
  readonly redis: Redis;
  /**
   * Counts an attempt.
   * @returns the attempts that count in the current window, with this one
   */
  count(account: string): Promise<number>;
  /** Takes an attempt back. */
  uncount(account: string): Promise<void>;
  sleep(ms: number): Promise<unknown>;
}

/**
 * Slows down who guesses at one account from many addresses, and never locks it: the right password is answered at once,
 * and the address that it came from stays exempt. Nobody knows an attacker from the owner on a new address, so these two
 * share a few places once there were too many wrong passwords; a wrong one keeps its place for a while.
 */
export class AccountBrake {
  readonly #parts: AccountBrakeParts;
  /** Account → the addresses that have a place. */
  readonly #slots = new Map<string, Set<string>>();
  #taken = 0;

  constructor(parts: AccountBrakeParts) {
    this.#parts = parts;
  }

  /**
   * @param account anything that names it but tells nobody its name
   * @param attempt answers undefined for a wrong password
   * @throws {AppError} `too_many_attempts` when all places are taken; nothing has been attempted then
   */
  async attempt<T>(account: string, peer: string, attempt: () => Promise<T | undefined>): Promise<T | undefined> {
    // Counted before it is made: of many at once only the first few are free.
    const excess = (await this.#parts.count(account)) - FREE_FAILURES;
    const isFree = excess <= 0 || (await this.#isKnown(account, peer));
    const outcome = isFree ? await attempt() : await this.#slowly(account, peer, excess, attempt);
    if (outcome !== undefined) await Promise.all([this.#parts.uncount(account), this.#remember(account, peer)]);
    return outcome;
  }

  async #slowly<T>(account: string, peer: string, excess: number, attempt: () => Promise<T | undefined>) {
    const release = this.#takeSlot(account, peer);
    try {
      const outcome = await attempt();
      if (outcome === undefined) await this.#parts.sleep(Math.min(FIRST_DELAY_MS * 2 ** (excess - 1), MAX_DELAY_MS));
      return outcome;
    } finally {
      release();
    }
  }

  /** One place for each address: whoever has one only cannot take them all. */
  #takeSlot(account: string, peer: string): () => void {
    const peers = this.#slots.get(account) ?? new Set();
    if (peers.has(peer) || peers.size >= ACCOUNT_SLOTS || this.#taken >= ALL_SLOTS) {
      throw new AppError('too_many_attempts', 'Too many wrong passwords for this account lately; try again shortly');
    }
    this.#slots.set(account, peers.add(peer));
    this.#taken += 1;
    return () => {
      peers.delete(peer);
      if (peers.size === 0) this.#slots.delete(account);
      this.#taken -= 1;
    };
  }

  // While Redis is down nobody is known and nobody becomes it, which costs a wait and no sign-in.
  async #isKnown(account: string, peer: string): Promise<boolean> {
    const { redis } = this.#parts;
    if (redis.status !== 'ready') return false;
    return redis.exists(knownKey(account, peer)).then(Boolean, () => false);
  }

  async #remember(account: string, peer: string): Promise<void> {
    const { redis } = this.#parts;
    if (redis.status !== 'ready') return;
    await redis.set(knownKey(account, peer), 1, 'EX', KNOWN_SECONDS).catch(() => undefined);
  }
}

function knownKey(account: string, peer: string): string {
  const pair = new Bun.CryptoHasher('sha256').update(`${account} ${peer}`).digest('hex');
  return `{decnet}:known-login:${pair}`;
}
