import type { Redis } from 'ioredis';
import { asList, script } from '../bus/script.ts';
import { AppError, describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import redeemSource from './redeem-ticket.lua' with { type: 'text' };
import type { Session } from './tokens.ts';

/** Life of a ticket that nobody redeems. */
export const TICKET_TTL_SECONDS = 60;
const TICKET_BYTES = 32;
/** What {@link TICKET_BYTES} become in base64url. */
const TICKET_FORM = /^[\w-]{43}$/;

const redeemScript = script(redeemSource);

export interface Redemption {
  readonly session: Session;
  /** True when the ticket had been redeemed before: alone it then proves nothing, see {@link StreamAuthenticator}. */
  readonly spent: boolean;
}

/**
 * Single-use tickets that open a stream where no header can be set (contract §4.4). They live in Redis under the hash of
 * the ticket, so that any node can redeem one and nobody who reads Redis can.
 */
export class Tickets {
  readonly #redis: Redis;
  readonly #logger: Log;

  constructor(redis: Redis, logger: Log) {
    this.#redis = redis;
    this.#logger = logger;
  }

  /**
   * @returns 43 characters of the URL-safe base64 alphabet
   * @throws {AppError} `unavailable` when Redis does not answer
   */
  async mint(session: Session): Promise<string> {
    const ticket = Buffer.from(crypto.getRandomValues(new Uint8Array(TICKET_BYTES))).toString('base64url');
    const stored = encode(session);
    await this.#ask('mint', () => this.#redis.set(ticketKeys(ticket)[0], stored, 'EX', TICKET_TTL_SECONDS));
    return ticket;
  }

  /**
   * Uses a ticket up. Its session is remembered until that expires, because a native EventSource comes back with the
   * same URL; the caller decides what else a spent ticket needs.
   * @returns undefined for a ticket that never was, or expired unused
   * @throws {AppError} `unavailable` when Redis does not answer
   */
  async redeem(ticket: string): Promise<Redemption | undefined> {
    if (!TICKET_FORM.test(ticket)) return undefined;
    const answer = await this.#ask('redeem', () => redeemScript.run(this.#redis, ticketKeys(ticket), []));
    const [state, stored] = asList(answer);
    return typeof stored === 'string' ? { session: decode(stored), spent: state === 'spent' } : undefined;
  }

  async #ask<T>(action: string, command: () => Promise<T>): Promise<T> {
    try {
      return await command();
    } catch (error) {
      this.#logger.warn('stream tickets are unavailable', { action, error: describeError(error) });
      throw new AppError('unavailable', 'Stream tickets are unavailable; try again shortly');
    }
  }
}

function ticketKeys(ticket: string): [ticket: string, spent: string] {
  const hash = new Bun.CryptoHasher('sha256').update(ticket).digest('hex');
  // The bus's hash tag: one script touches both keys, on Redis Cluster too.
  return [`{decnet}:ticket:${hash}`, `{decnet}:spent:${hash}`];
}

/** The end of the session first, in plain digits: Lua would round it when it came out of JSON. */
function encode({ expiresAt, issuedAt, userUuid, jti, generation }: Session): string {
  return [expiresAt, issuedAt, userUuid, jti, generation ?? ''].join(' ');
}

function decode(stored: string): Session {
  const [expiresAt, issuedAt, userUuid, jti, generation] = stored.split(' ');
  if (userUuid === undefined || jti === undefined) throw new Error('unexpected form of a stored ticket');
  const session = { expiresAt: Number(expiresAt), issuedAt: Number(issuedAt), userUuid, jti };
  return generation ? { ...session, generation: Number(generation) } : session;
}
