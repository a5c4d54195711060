import type { Entry } from '../bus/entry.ts';
import { payloadText } from '../bus/logged-event.ts';
import { Loop } from '../bus/loop.ts';
import { Renewal } from '../bus/renewal.ts';
import { subscription } from '../bus/subscription.ts';
import type { TailListener } from '../bus/tail.ts';
import type { Db } from '../db/database.ts';
import { describeError } from '../errors.ts';
import { SETTINGS_CHANGED } from '../settings/settings.ts';
import { claimThing, fencedBy, WAIT_MS } from '../substrate/claim.ts';
import { ClaimLost, type Fence, fleetThing, type Substrate } from '../substrate/substrate.ts';
import type { Log } from '../telemetry/log.ts';
import { onSubstrate, substrateId } from './fleet.ts';
import {
  claimableDeckies,
  claimRotation,
  finishRotation,
  type Outcome,
  type Rotation,
  renewClaim,
} from './rotation-claim.ts';
import { type HeardRequest, queueDue, recordRequests } from './rotation-queue.ts';

export interface RotatorOptions {
  readonly db: Db;
  readonly substrate: Substrate;
  readonly logger: Log;
  /** Called after each commit that left an event in the outbox: wakes the relay. */
  onCommitted(): void;
  /**
   * How long a decky without an interval of its own stays as it is, in milliseconds; `null`, also where this is not given:
   * for ever. Asked each time: it may have been set on another node.
   */
  readonly fleetIntervalMs?: () => Promise<number | null>;
  /** How soon requests of other nodes are found when no event tells of them, in milliseconds; default 10,000. */
  readonly pollMs?: number;
  /** A node silent for so many milliseconds loses its claims; default 30,000. */
  readonly leaseMs?: number;
  /** Milliseconds since the epoch; `Date.now` by default. */
  readonly now?: () => number;
  /** From 0 to below 1; `Math.random` by default. */
  readonly random?: () => number;
}

/** The second is of a topic whose decky is empty: there the payload names it (contract §5.8). */
const REQUESTS = ['decky.*.mutate_request', 'decky..mutate_request'];
/** Rotations that one node carries out at a time: a slow one delays few others. */
const MAX_UNDER_WAY = 4;
const CANDIDATES = 100;
/** Requests recorded in one transaction. */
const BATCH = 100;
const RETRY_MS = 1000;
/** A due time of long ago is no reason to spin. */
const MIN_SLEEP_MS = 100;

/**
 * Starts the deckies of the fleet, and gives them other services: when they are due, and when somebody asks. Every start and
 * every rotation is a row first, claimed by one node under a lease; what a crash leaves behind is taken over with the
 * services that had been chosen.
 */
export class Rotator {
  /** What it hears of the log; hand it to the tail. */
  readonly listener: TailListener;
  readonly #db: Db;
  readonly #options: RotatorOptions;
  readonly #fleetIntervalMs: () => Promise<number | null>;
  readonly #leaseMs: number;
  readonly #now: () => number;
  readonly #loop = new Loop(() => this.#turn());
  readonly #underWay = new Set<Promise<void>>();
  /** Kept until the database has them. */
  #heard: HeardRequest[] = [];

  constructor(options: RotatorOptions) {
    this.#db = options.db;
    this.#options = options;
    this.#fleetIntervalMs = options.fleetIntervalMs ?? (async () => null);
    this.#leaseMs = options.leaseMs ?? 30_000;
    this.#now = options.now ?? Date.now;
    this.listener = subscription(
      [...REQUESTS, SETTINGS_CHANGED],
      (entry) => (entry.topic === SETTINGS_CHANGED ? this.wake() : this.#hear(entry)),
      () => this.wake(),
    );
  }

  start(): void {
    this.#loop.start();
  }

  /** There may be something to do: look now. */
  wake(): void {
    this.#loop.wake();
  }

  /** Finishes the rotations under way. */
  async stop(): Promise<void> {
    await this.#loop.stop();
    await Promise.all(this.#underWay);
  }

  #hear(entry: Entry): void {
    const name = entry.topic.split('.')[1] || payloadText(entry, 'name');
    if (!name) return;
    this.#heard.push({ eventId: entry.id, name });
    this.wake();
  }

  async #turn(): Promise<number> {
    const { pollMs = 10_000, logger } = this.#options;
    try {
      await this.#recordHeard();
      const dueInMs = await queueDue(this.#db, await this.#fleetIntervalMs(), this.#now());
      await this.#claim();
      return Math.min(pollMs, Math.max(MIN_SLEEP_MS, dueInMs ?? pollMs));
    } catch (error) {
      logger.warn('looking for rotations failed; trying again', { error: describeError(error) });
      return RETRY_MS;
    }
  }

  async #recordHeard(): Promise<void> {
    while (this.#heard.length > 0) {
      const batch = this.#heard.slice(0, BATCH);
      const unknown = await recordRequests(this.#db, batch, this.#now());
      this.#heard = this.#heard.slice(batch.length);
      if (unknown.length > 0) {
        this.#options.logger.warn('a mutate request names no decky of the fleet', { names: unknown.join(', ') });
      }
    }
  }

  async #claim(): Promise<void> {
    const { onCommitted, random = Math.random } = this.#options;
    for (const name of await claimableDeckies(this.#db, this.#now(), CANDIDATES)) {
      // The end of each one under way wakes this loop again.
      if (this.#loop.isStopped || this.#underWay.size >= MAX_UNDER_WAY) return;
      const claim = crypto.randomUUID();
      const terms = { claim, now: this.#now(), leaseMs: this.#leaseMs, random };
      const rotation = await claimRotation(this.#db, name, terms);
      if (rotation === undefined) continue;
      onCommitted();
      if (rotation !== 'refused') this.#begin(rotation);
    }
  }

  #begin(rotation: Rotation): void {
    const underWay = this.#carryOut(rotation).finally(() => {
      this.#underWay.delete(underWay);
      this.wake();
    });
    this.#underWay.add(underWay);
  }

  async #carryOut(rotation: Rotation): Promise<void> {
    const { logger, onCommitted } = this.#options;
    const renewal = this.#renew(rotation);
    const fields = { decky: rotation.decky.name, claim: rotation.claim };
    try {
      const outcome = await this.#applyUnderClaim(rotation);
      if (outcome === undefined) return;
      const fleetIntervalMs = await this.#fleetIntervalMs();
      if (await finishRotation(this.#db, rotation, outcome, this.#now(), fleetIntervalMs)) onCommitted();
      else logger.warn('a rotation took longer than its claim; another node has it', fields);
      if (outcome.kind === 'failed') logger.warn('a rotation failed', { ...fields, error: outcome.error });
    } catch (error) {
      // The claim runs out, and whoever comes next does it again.
      logger.warn('a rotation could not be recorded', { ...fields, error: describeError(error) });
    } finally {
      await renewal.stop();
    }
  }

  /** @returns `undefined` when the decky is somebody else's to change now: nothing more was done to it, and is to be told */
  async #applyUnderClaim(rotation: Rotation): Promise<Outcome | undefined> {
    const { claim, decky } = rotation;
    const { logger, substrate } = this.#options;
    const fields = { decky: decky.name, claim };
    const terms = { leaseMs: this.#leaseMs, now: this.#now, waitMs: WAIT_MS };
    const ground = await claimThing(substrate, this.#db, fleetThing(substrateId(decky)), terms);
    if (ground === undefined) {
      await renewClaim(this.#db, claim, this.#now(), 0);
      logger.warn('a rotation has to wait: others change the decky', fields);
      return undefined;
    }
    const isStillMine = () => renewClaim(this.#db, claim, this.#now(), this.#leaseMs);
    try {
      return await this.#apply(rotation, fencedBy(ground, isStillMine));
    } catch (error) {
      if (!(error instanceof ClaimLost)) throw error;
      logger.warn('a rotation was taken over by another node', { ...fields, error: error.message });
      return undefined;
    } finally {
      await ground.release();
    }
  }

  /**
   * Brings the services about; when that fails, those from before.
   * @throws {ClaimLost}
   */
  async #apply({ decky, operation, oldServices, newServices }: Rotation, fence: Fence): Promise<Outcome> {
    const { substrate } = this.#options;
    try {
      await substrate.ensureDecky(onSubstrate(decky, newServices), fence);
      return { kind: 'succeeded' };
    } catch (failure) {
      if (failure instanceof ClaimLost) throw failure;
      const error = describeError(failure);
      // There was nothing before it.
      if (operation === 'deploy') return { kind: 'failed', error, state: 'failed' };
      try {
        await substrate.ensureDecky(onSubstrate(decky, oldServices), fence);
        return { kind: 'failed', error, state: 'running' };
      } catch (second) {
        if (second instanceof ClaimLost) throw second;
        const both = `${error}; bringing back the services from before failed too: ${describeError(second)}`;
        return { kind: 'failed', error: both, state: 'degraded' };
      }
    }
  }

  #renew({ claim }: Rotation): Renewal {
    return new Renewal({
      leaseMs: this.#leaseMs,
      renew: () => renewClaim(this.#db, claim, this.#now(), this.#leaseMs),
      onError: (error) =>
        this.#options.logger.warn('a claim could not be renewed', { claim, error: describeError(error) }),
    });
  }
}
