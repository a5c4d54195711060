import type { Redis } from 'ioredis';
import { keys } from '../bus/keys.ts';
import { asList, script } from '../bus/script.ts';
import { AppError, describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import acquireSource from './acquire.lua' with { type: 'text' };
import renewSource from './renew.lua' with { type: 'text' };

const acquireScript = script(acquireSource);
const renewScript = script(renewSource);

/** A user's right to one open stream. */
export interface Slot {
  readonly userUuid: string;
  /** `<stream>|<start>|<node>|<connection>`: sortable by age within a stream. */
  readonly member: string;
}

/**
 * The cap on open streams of a user over all nodes: leases in Redis, so that those of a crashed node end by themselves.
 * While Redis is down the streams of this node are counted instead: streams stay available and the cap stays a cap.
 */
export class UserStreams {
  readonly #redis: Redis;
  readonly #node: string;
  readonly #max: number;
  readonly #leaseMs: number;
  readonly #logger: Log;
  readonly #own = new Map<string, Slot>();

  /** @param options.maxPerUser open streams of one user; @param options.leaseMs life of a slot that is not renewed */
  constructor(redis: Redis, node: string, logger: Log, options: { maxPerUser: number; leaseMs: number }) {
    this.#redis = redis;
    this.#node = node;
    this.#logger = logger;
    this.#max = options.maxPerUser;
    this.#leaseMs = options.leaseMs;
  }

  /**
   * Takes a slot.
   * @param stream names what is streamed: a returning client takes over the oldest connection to the same stream, its own
   *   half-dead predecessor, instead of being refused
   * @param owner tells the refused whose streams they are
   * @throws {AppError} `stream_limit`
   */
  async acquire(
    userUuid: string,
    stream: string,
    connection: string,
    mayTakeOver: boolean,
    owner = 'this user',
  ): Promise<Slot> {
    const start = Date.now().toString().padStart(15, '0');
    const slot: Slot = { userUuid, member: `${stream}|${start}|${this.#node}|${connection}` };
    if (!(await this.#isGranted(slot, stream, mayTakeOver))) {
      throw new AppError('stream_limit', `Stream limit (${this.#max}) of ${owner} reached; close another stream first`);
    }
    this.#own.set(slot.member, slot);
    return slot;
  }

  /** Gives a slot back. When Redis cannot be told, the lease ends by itself. */
  async release(slot: Slot): Promise<void> {
    if (!this.#own.delete(slot.member)) return;
    await this.#redis.zrem(keys.userStreams(slot.userUuid), slot.member).catch((error: unknown) => {
      this.#logger.debug('a stream slot was left to expire', { error: describeError(error) });
    });
  }

  /**
   * Renews the leases of all slots of this node: one call for each user.
   * @returns the slots that another connection has taken over
   */
  async renew(): Promise<Slot[]> {
    const users = Map.groupBy(this.#own.values(), ({ userUuid }) => userUuid);
    const lost = await Promise.all(
      [...users].map(async ([userUuid, slots]) => {
        const members = slots.map(({ member }) => member);
        return asList(await renewScript.run(this.#redis, [keys.userStreams(userUuid)], [this.#leaseMs, ...members]));
      }),
    );
    return lost.flat().flatMap((member) => this.#own.get(String(member)) ?? []);
  }

  async #isGranted(slot: Slot, stream: string, mayTakeOver: boolean): Promise<boolean> {
    try {
      const answer = await acquireScript.run(
        this.#redis,
        [keys.userStreams(slot.userUuid)],
        [slot.member, this.#leaseMs, this.#max, mayTakeOver ? `${stream}|` : ''],
      );
      return Number(answer) === 1;
    } catch (error) {
      this.#logger.warn('counting streams of this node only; redis does not answer', { error: describeError(error) });
      const own = [...this.#own.values()].filter(({ userUuid }) => userUuid === slot.userUuid);
      if (own.length >= this.#max) return false;
      // In the tick of the count: all who wait for Redis are refused at once.
      this.#own.set(slot.member, slot);
      return true;
    }
  }
}
