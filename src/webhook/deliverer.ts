import { WakeableSleep } from '../bus/wake.ts';
import type { Db } from '../db/database.ts';
import { releaseLease, takeLease } from '../db/leases.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { Lane, type LaneParts, type LaneRules } from './lane.ts';
import { Recorder } from './recorder.ts';
import type { Sender } from './sender.ts';
import { toSubscription } from './subscription.ts';

export interface DelivererParts {
  readonly db: Db;
  readonly node: string;
  readonly sender: Pick<Sender, 'attempt'>;
  readonly rules: LaneRules;
  readonly logger: Log;
  /** Called after each commit that wrote to the outbox. */
  readonly onCommitted: () => void;
  /** Milliseconds since the epoch. */
  now?(): number;
  random?(): number;
}

const LEASE = 'webhook-delivery';
const LEASE_MS = 5000;
/** A leader renews, and looks for changed subscriptions, so often. */
const RENEW_MS = 1000;

/**
 * Delivers what the dispatcher has written down: one node at a time, a {@link Lane} for each subscription. A leader that dies leaves its requests
 * pending, and its successor sends them again: at least once.
 */
export class Deliverer {
  readonly #parts: DelivererParts;
  readonly #recorder: Recorder;
  readonly #lanes = new Map<string, Lane>();
  /** Lanes of subscriptions that are no more; their requests under way end in peace. */
  readonly #leaving = new Map<string, Promise<void>>();
  readonly #sleep = new WakeableSleep();
  #stopped = false;
  #failing = false;
  #running: Promise<void> | undefined;

  constructor(parts: DelivererParts) {
    this.#parts = parts;
    this.#recorder = new Recorder(parts.db, parts.logger, parts.onCommitted);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Deliveries were written, or subscriptions changed. */
  wake(): void {
    for (const lane of this.#lanes.values()) lane.wake();
    this.#sleep.wake();
  }

  /** Begins nothing more, waits for the requests under way, and lets another node go on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#sleep.wake();
    await this.#running;
    await this.#stand();
    await this.#recorder.stop();
    await releaseLease(this.#parts.db, LEASE, this.#parts.node).catch((error) =>
      this.#parts.logger.debug('the lease of webhooks ends by itself', { error: describeError(error) }),
    );
  }

  async #run(): Promise<void> {
    const { db, node, logger } = this.#parts;
    while (!this.#stopped) {
      try {
        const leads = (await takeLease(db, LEASE, node, LEASE_MS)) !== undefined;
        if (leads) await this.#followSubscriptions();
        else await this.#stand();
        if (this.#failing) logger.info('webhooks are delivered again');
        this.#failing = false;
      } catch (error) {
        if (!this.#failing) logger.warn('webhooks cannot be delivered', { error: describeError(error) });
        this.#failing = true;
        // Whether this node still leads cannot be known.
        await this.#stand();
      }
      await this.#sleep.sleep(RENEW_MS);
    }
  }

  /** Makes the lanes what the subscriptions are now. */
  async #followSubscriptions(): Promise<void> {
    const { db } = this.#parts;
    const known = await db
      .selectFrom('webhook_subscriptions')
      .select(['uuid', 'revision'])
      .where('enabled', '=', 1)
      .execute();
    const revisions = new Map(known.map(({ uuid, revision }) => [uuid, revision]));
    for (const uuid of [...this.#lanes.keys()]) if (!revisions.has(uuid)) this.#leave(uuid);
    for (const [uuid, revision] of revisions) {
      const lane = this.#lanes.get(uuid);
      if (lane?.revision === revision) continue;
      const row = await db
        .selectFrom('webhook_subscriptions')
        .selectAll()
        .where('uuid', '=', uuid)
        .where('enabled', '=', 1)
        .executeTakeFirst();
      // One that was taken away and given back waits: what is under way must not be sent beside itself.
      if (row === undefined || this.#stopped || this.#leaving.has(uuid)) continue;
      if (lane === undefined) this.#lanes.set(uuid, new Lane(this.#laneParts(), toSubscription(row)));
      else lane.update(toSubscription(row));
    }
  }

  #laneParts(): LaneParts {
    const { db, sender, rules, logger, now = Date.now, random = Math.random } = this.#parts;
    return {
      ...{ db, rules, logger, now, random },
      recorder: this.#recorder,
      attempt: (subscription, request) => sender.attempt(subscription, request),
    };
  }

  #leave(uuid: string): void {
    const lane = this.#lanes.get(uuid);
    this.#lanes.delete(uuid);
    if (lane === undefined) return;
    const leaving = lane.stop().finally(() => {
      this.#leaving.delete(uuid);
      this.#sleep.wake();
    });
    this.#leaving.set(uuid, leaving);
  }

  /** Ends all lanes: another node leads, or nobody knows. */
  async #stand(): Promise<void> {
    for (const uuid of [...this.#lanes.keys()]) this.#leave(uuid);
    await Promise.all(this.#leaving.values());
  }
}
