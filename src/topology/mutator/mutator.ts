import { subscription } from '../../bus/subscription.ts';
import type { TailListener } from '../../bus/tail.ts';
import { WakeableSleep } from '../../bus/wake.ts';
import type { Db } from '../../db/database.ts';
import { describeError } from '../../errors.ts';
import { ClaimLost, type Substrate } from '../../substrate/substrate.ts';
import type { Log } from '../../telemetry/log.ts';
import { applyMutation } from './apply.ts';
import { type Claim, claimNext, renewClaim, topologiesWithWork } from './claim.ts';
import type { MutatorParts } from './parts.ts';

export interface MutatorOptions {
  readonly db: Db;
  readonly substrate: Substrate;
  /** Names this mutator among all that work on the database. */
  readonly node: string;
  readonly logger: Log;
  /** Called after each commit that wrote to the outbox: wakes the relay. */
  onCommitted(): void;
  /** Milliseconds after which another mutator takes over what this one applies, unless it renews; default 30,000. */
  readonly leaseMs?: number;
  /** Milliseconds between two looks at every queue, for what no event tells; default 10,000 (contract §5.8). */
  readonly pollMs?: number;
  /** How many topologies are worked on at once; default 8. */
  readonly parallel?: number;
  /** Milliseconds since the epoch. */
  now?(): number;
}

/**
 * Applies the mutations of all topologies: each topology's in the order of its queue, one at a time whoever applies them,
 * and topologies beside each other. A topology gets its next turn after the others that wait. Any number of mutators
 * may work on one database.
 */
export class Mutator {
  /** For the tail: what is enqueued is applied at once. */
  readonly listener: TailListener;
  readonly #parts: MutatorParts;
  readonly #holder: string;
  readonly #pollMs: number;
  readonly #parallel: number;
  readonly #sleep = new WakeableSleep();
  /** Topologies that may have work, in the order of their turns. */
  readonly #waiting = new Set<string>();
  readonly #working = new Map<string, Promise<void>>();
  #stopped = false;
  #polling: Promise<void> | undefined;

  constructor(options: MutatorOptions) {
    const { db, substrate, logger, leaseMs = 30_000, now = Date.now } = options;
    this.#parts = { db, substrate, logger, leaseMs, now, onCommitted: () => options.onCommitted() };
    this.#holder = options.node;
    this.#pollMs = options.pollMs ?? 10_000;
    this.#parallel = options.parallel ?? 8;
    this.listener = subscription(
      ['topology.*.mutation.enqueued'],
      ({ topic }) => this.wake(topic.split('.')[1]),
      () => this.wake(),
    );
  }

  start(): void {
    this.#polling ??= this.#poll();
  }

  /**
   * There is something to apply: look now.
   * @param topologyId where; everywhere when it is not known
   */
  wake(topologyId?: string): void {
    if (topologyId === undefined) return this.#sleep.wake();
    if (this.#polling === undefined) return;
    this.#waiting.add(topologyId);
    this.#takeTurns();
  }

  /** Finishes the mutations under way and takes no others. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#sleep.wake();
    await this.#polling;
    await Promise.all(this.#working.values());
  }

  async #poll(): Promise<void> {
    while (!this.#stopped) {
      try {
        for (const id of await topologiesWithWork(this.#parts.db, this.#parts.now())) this.#waiting.add(id);
        this.#takeTurns();
      } catch (error) {
        this.#parts.logger.warn('the mutator cannot read the queues', { error: describeError(error) });
      }
      await this.#sleep.sleep(this.#pollMs);
    }
  }

  #takeTurns(): void {
    for (const id of this.#waiting) {
      if (this.#stopped || this.#working.size >= this.#parallel) return;
      if (this.#working.has(id)) continue;
      this.#waiting.delete(id);
      this.#working.set(id, this.#takeTurn(id));
    }
  }

  /** One mutation of the topology; when there was one, the topology waits for its next turn. */
  async #takeTurn(topologyId: string): Promise<void> {
    let claim: Claim | undefined;
    try {
      const { db, now, leaseMs } = this.#parts;
      claim = await claimNext(db, topologyId, { holder: this.#holder, leaseMs, now: now() });
      if (claim !== undefined) {
        this.#parts.onCommitted();
        await applyMutation(this.#parts, claim);
        this.#waiting.add(topologyId);
      }
    } catch (error) {
      const level = error instanceof ClaimLost ? 'warn' : 'error';
      this.#parts.logger[level]('a mutation could not be worked on; it is tried again', {
        topology: topologyId,
        error: describeError(error),
      });
      if (claim !== undefined) await this.#release(claim);
    } finally {
      this.#working.delete(topologyId);
      this.#takeTurns();
    }
  }

  /** Anybody may go on at once. If not even this can be written, the claim ends by itself. */
  async #release(claim: Claim): Promise<void> {
    await renewClaim(this.#parts.db, claim, 0).catch((error) =>
      this.#parts.logger.warn('a claim could not be given up; it expires', { error: describeError(error) }),
    );
  }
}
