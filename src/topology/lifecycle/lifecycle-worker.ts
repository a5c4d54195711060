import { Loop } from '../../bus/loop.ts';
import { subscription } from '../../bus/subscription.ts';
import type { Db } from '../../db/database.ts';
import { describeError } from '../../errors.ts';
import { LEASE_MS, SubstrateClaim } from '../../substrate/claim.ts';
import type { Substrate } from '../../substrate/substrate.ts';
import type { Log } from '../../telemetry/log.ts';
import { Interrupted, runJob, WORK_STATUSES } from './lifecycle-job.ts';

const POLL_MS = 10_000;
/** A mutation or an edit under way is waited for; who takes longer is another node, and the poll is enough. */
const WAIT_MS = 1000;
/** So many topologies are worked on by one process at once; a slow one delays no other before that. */
const PARALLEL = 8;

export interface LifecycleWorkerParts {
  readonly db: Db;
  readonly substrate: Substrate;
  readonly logger: Log;
  /** Called after each commit that wrote to the outbox: wakes the relay. */
  readonly onCommitted: () => void;
  /** Milliseconds after which it looks without having been woken; default 10 s. */
  readonly pollMs?: number;
  /** Milliseconds after which another node takes up what this one was doing when it died; default 30 s. */
  readonly leaseMs?: number;
}

/**
 * Does what `deploying` and `tearing_down` promise: on any node, one node at a time for each topology, and again from the
 * beginning when a node has died over it. A route only makes the transition.
 */
export class LifecycleWorker {
  /** To be told what the tail reads: a status that changed may be work. */
  readonly listener = subscription(
    ['topology.*.status'],
    () => this.wake(),
    () => this.wake(),
  );
  readonly #parts: LifecycleWorkerParts;
  readonly #loop = new Loop(() => this.#turn());
  readonly #underWay = new Map<string, Promise<void>>();

  constructor(parts: LifecycleWorkerParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#loop.start();
  }

  /** There may be work: look now. */
  wake(): void {
    this.#loop.wake();
  }

  /** Ends the jobs under way at their next step; another node, or the next start, takes them up again. */
  async stop(): Promise<void> {
    await this.#loop.stop();
    await Promise.all(this.#underWay.values());
  }

  async #turn(): Promise<number> {
    await this.#look().catch((error) => this.#warn('the lifecycle worker cannot look for work', error));
    return this.#parts.pollMs ?? POLL_MS;
  }

  async #look(): Promise<void> {
    const rows = await this.#parts.db
      .selectFrom('topologies')
      .select('id')
      .where('status', 'in', WORK_STATUSES)
      .orderBy('status_changed_at')
      .execute();
    for (const { id } of rows) {
      if (this.#loop.isStopped || this.#underWay.size >= PARALLEL) return;
      if (this.#underWay.has(id)) continue;
      this.#underWay.set(id, this.#work(id));
    }
  }

  async #work(id: string): Promise<void> {
    let worked = false;
    try {
      worked = await this.#workUnderClaim(id);
    } catch (error) {
      this.#warn('a topology could not be worked on; it is tried again', error, id);
    }
    this.#underWay.delete(id);
    // What came while this was under way, or found no place beside it. Where another node works, the poll is enough.
    if (worked) this.wake();
  }

  /** @returns false when somebody else is at it */
  async #workUnderClaim(id: string): Promise<boolean> {
    const { db, substrate, onCommitted, leaseMs = LEASE_MS } = this.#parts;
    const claim = await SubstrateClaim.take(db, id, { leaseMs, waitMs: WAIT_MS });
    if (claim === undefined) return false;
    const isStopping = () => this.#loop.isStopped;
    try {
      while (!this.#loop.isStopped && claim.isHeld) {
        if (!(await this.#runOnce({ db, substrate, claim, isStopping, onCommitted }, id))) break;
      }
    } finally {
      await claim.release();
    }
    return true;
  }

  /** @returns whether there may be more to do */
  async #runOnce(parts: Parameters<typeof runJob>[0], id: string): Promise<boolean> {
    try {
      return await runJob(parts, id);
    } catch (error) {
      if (error instanceof Interrupted) return true;
      throw error;
    }
  }

  #warn(message: string, error: unknown, topology?: string): void {
    if (!this.#loop.isStopped) this.#parts.logger.warn(message, { error: describeError(error), topology });
  }
}
