import { isJsonObject } from '../bus/event.ts';
import { Loop } from '../bus/loop.ts';
import { subscription } from '../bus/subscription.ts';
import type { TailListener } from '../bus/tail.ts';
import type { Db } from '../db/database.ts';
import { releaseLease, takeLease } from '../db/leases.ts';
import { describeError } from '../errors.ts';
import { SubstrateClaim } from '../substrate/claim.ts';
import { ClaimLost, FLEET, fleetThing, type Substrate, type SubstrateObject } from '../substrate/substrate.ts';
import type { Log } from '../telemetry/log.ts';
import { keyOf, runningDeckies, type Subject, unexplained } from './explained.ts';

export interface ReconcilerOptions {
  readonly db: Db;
  readonly substrate: Substrate;
  readonly logger: Log;
  /** Milliseconds between two passes; default 60,000. */
  readonly intervalMs?: number;
  /** What is younger is left alone, in milliseconds; default 120,000: four times as long as a claim lasts. */
  readonly graceMs?: number;
  /** Milliseconds since the epoch; `Date.now` by default. */
  readonly now?: () => number;
}

/** What no row explained, what of it has gone, and why the rest has not. */
export interface Reaped {
  readonly orphans: SubstrateObject[];
  readonly removed: SubstrateObject[];
  readonly errors: string[];
}

/** Somebody waits for it. */
const REAP_MS = 30_000;
/** The pass of a node that died is taken over so long after, in passes. */
const LEASE_IN_PASSES = 3;
const LEASE = 'reconciler';
/** In one line of the log. */
const MAX_NAMES = 10;
const MAX_MISSING = 10_000;

/**
 * Compares what the substrate has with what rows say, on one node at a time. What no row explains is removed: it was made by
 * somebody whose claim ended while the engine was at it, or who died. What should run and does not is told: whether to make
 * it again is for people to say, since something may have gone wrong with it.
 */
export class Reconciler {
  /** A decky that has gone may have left something behind: hears of it, from any node. */
  readonly listener: TailListener;
  readonly #options: ReconcilerOptions;
  readonly #holder = crypto.randomUUID();
  readonly #now: () => number;
  readonly #loop = new Loop(() => this.#turn());
  /** What was not there in the last pass → whether that has been told. */
  #missing = new Map<string, boolean>();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.listener = subscription(
      ['decky.*.state'],
      ({ data }) => {
        if (isOfDeparture(data)) this.wake();
      },
      // The next pass finds it.
      () => {},
    );
  }

  /** Where nothing runs there is nothing to compare. */
  start(): void {
    if (this.#options.substrate.name === 'record') return;
    this.#loop.start();
  }

  /** Looks now. */
  wake(): void {
    this.#loop.wake();
  }

  /** Ends after the removal under way. */
  async stop(): Promise<void> {
    await this.#loop.stop();
    await releaseLease(this.#options.db, LEASE, this.#holder).catch(() => {});
  }

  async #turn(): Promise<number> {
    try {
      if (await this.#isMine()) await this.reconcile();
    } catch (error) {
      const what = 'the substrate could not be reconciled; it is tried again';
      this.#options.logger.warn(what, { error: describeError(error) });
    }
    return this.#intervalMs;
  }

  /**
   * Removes now what no row explains, on whichever node somebody asks for it.
   * @throws what the substrate throws when it cannot be asked
   */
  async reap(): Promise<Reaped> {
    const givenUpAt = performance.now() + REAP_MS;
    const objects = await this.#options.substrate.owned();
    return this.#removeStrangers(objects, async () => performance.now() < givenUpAt);
  }

  /** One pass. */
  async reconcile(): Promise<void> {
    const objects = await this.#options.substrate.owned();
    await this.#removeStrangers(objects, () => this.#isMine());
    await this.#tellMissing(objects);
  }

  /** @param mayGoOn asked before each thing */
  async #removeStrangers(objects: readonly SubstrateObject[], mayGoOn: () => Promise<boolean>): Promise<Reaped> {
    const { db, graceMs = 120_000 } = this.#options;
    const youngest = this.#now() - graceMs;
    const old = objects.filter(({ createdAt }) => createdAt <= youngest);
    const strangers = Map.groupBy(await unexplained(db, old), thingOf);
    const reaped: Reaped = { orphans: [...strangers.values()].flat(), removed: [], errors: [] };
    for (const [thing, found] of strangers) {
      if (this.#loop.isStopped || !(await mayGoOn())) {
        reaped.errors.push('there was no time for all of it; the next pass goes on');
        break;
      }
      const claim = await SubstrateClaim.take(db, thing, { now: this.#now });
      // Whoever has it may be about to write the row.
      if (claim === undefined) {
        reaped.errors.push(`${thing} is being changed by somebody`);
        continue;
      }
      await this.#remove(found, claim, reaped).finally(() => claim.release());
    }
    return reaped;
  }

  async #remove(found: readonly SubstrateObject[], claim: SubstrateClaim, reaped: Reaped): Promise<void> {
    const { db, substrate, logger } = this.#options;
    // Only now nobody else can change either side.
    const strangers = await unexplained(db, found);
    // A network goes when nothing is in it any more.
    for (const object of strangers.sort((one, other) => one.kind.localeCompare(other.kind))) {
      const { kind, id, topologyId, name, fence } = object;
      const fields = { kind, id, topology: topologyId, name, fence };
      try {
        await substrate.removeOwned(object, claim);
        reaped.removed.push(object);
        logger.warn('removed what no row explains', fields);
      } catch (error) {
        reaped.errors.push(`${kind} ${name}: ${describeError(error)}`);
        logger.warn('what no row explains could not be removed', { ...fields, error: describeError(error) });
        if (error instanceof ClaimLost) return;
      }
    }
  }

  /** Not there in two passes: what is being made anew is not there for a moment. */
  async #tellMissing(objects: readonly SubstrateObject[]): Promise<void> {
    const { db, logger } = this.#options;
    const running = new Set(objects.filter(({ isRunning }) => isRunning).map(keyOf));
    const missing = new Map<string, boolean>();
    const reported: Subject[] = [];
    for await (const page of runningDeckies(db)) {
      for (const subject of page) {
        const key = keyOf(subject);
        if (running.has(key) || missing.size >= MAX_MISSING) continue;
        const isReported = this.#missing.get(key);
        missing.set(key, isReported !== undefined);
        if (isReported === false) reported.push(subject);
      }
    }
    this.#missing = missing;
    if (reported.length === 0) return;
    const names = reported.slice(0, MAX_NAMES).map(({ topologyId, name }) => `${name} (${topologyId})`);
    logger.warn('deckies that should run do not', { count: reported.length, deckies: names.join(', ') });
  }

  get #intervalMs(): number {
    return this.#options.intervalMs ?? 60_000;
  }

  /** Whether this node's is the one that works. */
  async #isMine(): Promise<boolean> {
    const ttlMs = LEASE_IN_PASSES * this.#intervalMs;
    return (await takeLease(this.#options.db, LEASE, this.#holder, ttlMs, this.#now())) !== undefined;
  }
}

/** @param data a frame's data: whoever published it may have sent any payload */
function isOfDeparture(data: string): boolean {
  const frame: unknown = JSON.parse(data);
  return isJsonObject(frame) && isJsonObject(frame.payload) && frame.payload.transition === 'deleted';
}

const thingOf = ({ topologyId, of }: SubstrateObject): string => (topologyId === FLEET ? fleetThing(of) : topologyId);
