import { Loop } from '../bus/loop.ts';
import type { Db } from '../db/database.ts';
import { releaseLease, takeLease } from '../db/leases.ts';
import type { WebhookSubscriptionRow } from '../db/webhook-tables.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { Lane, type LaneParts, type LaneRules } from './lane.ts';
import { WEBHOOK_LEASE } from './lease.ts';
import { Recorder } from './recorder.ts';
import type { Sender } from './sender.ts';
import { SharedBytes } from './shared-bytes.ts';
import type { Bounds } from './stock.ts';
import { type Subscription, toSubscription } from './subscription.ts';

export interface DelivererParts {
  readonly db: Db;
  readonly node: string;
  /** Milliseconds after which another node takes over from one that is silent. */
  readonly leaseMs: number;
  readonly sender: Pick<Sender, 'attempt'>;
  readonly rules: LaneRules;
  /** Of what is kept for a subscription. */
  readonly bounds: Bounds;
  readonly logger: Log;
  /** Called after each commit that wrote to the outbox. */
  readonly onCommitted: () => void;
  /** Milliseconds since the epoch. */
  now?(): number;
  random?(): number;
}

/** Of the requests under way of all subscriptions together; each may have one beside. */
const MEMORY_BYTES = 64 * 1024 * 1024;
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
  readonly #loop = new Loop(() => this.#turn());
  readonly #memory = new SharedBytes(MEMORY_BYTES);
  /** Subscriptions that cannot be read, with the revision in which that was told. */
  readonly #unreadable = new Map<string, number>();
  /** Milliseconds since the epoch: until then nobody else delivers. */
  #leadsUntil = 0;
  #failing = false;

  constructor(parts: DelivererParts) {
    this.#parts = parts;
    this.#recorder = new Recorder(parts.db, parts.logger, parts.onCommitted, parts.bounds);
  }

  start(): void {
    this.#loop.start();
  }

  /** Whether this node is the one that delivers. */
  get leads(): boolean {
    return Date.now() < this.#leadsUntil;
  }

  /** Subscriptions may have been changed, or deliveries of any of them. */
  wake(): void {
    for (const lane of this.#lanes.values()) lane.wake();
    this.#loop.wake();
  }

  /** Deliveries to these subscriptions were written. */
  wakeLanes(subscriptions: Iterable<string>): void {
    for (const uuid of subscriptions) this.#lanes.get(uuid)?.wake();
  }

  /** Begins nothing more, waits for the requests under way, and lets another node go on. */
  async stop(): Promise<void> {
    await this.#loop.stop();
    await this.#stand();
    await this.#recorder.stop();
    await releaseLease(this.#parts.db, WEBHOOK_LEASE, this.#parts.node).catch((error) =>
      this.#parts.logger.debug('the lease of webhooks ends by itself', { error: describeError(error) }),
    );
  }

  async #turn(): Promise<number> {
    const { db, node, leaseMs, logger } = this.#parts;
    try {
      const now = Date.now();
      const term = await takeLease(db, WEBHOOK_LEASE, node, leaseMs, now);
      this.#leadsUntil = term === undefined ? 0 : now + leaseMs;
      if (term !== undefined) await this.#followSubscriptions();
      else await this.#stand();
      if (this.#failing) logger.info('webhooks are delivered again');
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) logger.warn('webhooks cannot be delivered', { error: describeError(error) });
      this.#failing = true;
      // Whether this node still leads cannot be known.
      await this.#stand();
    }
    return Math.min(RENEW_MS, leaseMs / 3);
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
      if (row === undefined || this.#loop.isStopped || this.#leaving.has(uuid)) continue;
      const subscription = this.#read(row);
      if (subscription === undefined) continue;
      if (lane === undefined) this.#lanes.set(uuid, new Lane(this.#laneParts(), subscription));
      else lane.update(subscription);
    }
  }

  /** One that cannot be read costs the others nothing: what is for it waits until it is changed. */
  #read(row: WebhookSubscriptionRow): Subscription | undefined {
    const { uuid, revision } = row;
    try {
      const subscription = toSubscription(row);
      this.#unreadable.delete(uuid);
      return subscription;
    } catch (error) {
      if (this.#unreadable.get(uuid) !== revision) {
        this.#parts.logger.error('a webhook cannot be read', { webhook: uuid, error: describeError(error) });
      }
      this.#unreadable.set(uuid, revision);
      return undefined;
    }
  }

  #laneParts(): LaneParts {
    const { db, sender, rules, logger, now = Date.now, random = Math.random } = this.#parts;
    return {
      ...{ db, rules, logger, now, random },
      recorder: this.#recorder,
      memory: this.#memory,
      leads: () => this.leads,
      attempt: (subscription, request) => sender.attempt(subscription, request),
    };
  }

  #leave(uuid: string): void {
    const lane = this.#lanes.get(uuid);
    this.#lanes.delete(uuid);
    if (lane === undefined) return;
    const leaving = lane.stop().finally(() => {
      this.#leaving.delete(uuid);
      this.#loop.wake();
    });
    this.#leaving.set(uuid, leaving);
  }

  /** Ends all lanes: another node leads, or nobody knows. */
  async #stand(): Promise<void> {
    for (const uuid of [...this.#lanes.keys()]) this.#leave(uuid);
    await Promise.all(this.#leaving.values());
  }
}
