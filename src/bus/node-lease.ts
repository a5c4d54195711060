import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { Exclusive } from './exclusive.ts';
import type { Groups } from './groups.ts';

export interface NodeLeaseOptions {
  /** Length of the lease, in milliseconds; it is renewed every third of it. */
  readonly leaseMs: number;
  /**
   * The lease had ended before it was renewed: other nodes may have destroyed the groups of this one, and forgotten
   * channels that only they kept.
   */
  readonly onLapsed?: () => void;
}

/** Says that this node lives, so that nobody takes its groups for those of a dead one. */
export class NodeLease {
  readonly #groups: Groups;
  readonly #logger: Log;
  readonly #options: NodeLeaseOptions;
  readonly #renewal: Exclusive;
  #timer: Timer | undefined;

  constructor(groups: Groups, logger: Log, options: NodeLeaseOptions) {
    this.#groups = groups;
    this.#logger = logger;
    this.#options = options;
    this.#renewal = new Exclusive(() => this.#renew());
  }

  /** Takes the lease at once and keeps it; with Redis away, as soon as it is back. */
  async start(): Promise<void> {
    this.#timer = setInterval(
      () => {
        this.renew().catch((error) =>
          this.#logger.warn('the lease of this node could not be renewed; trying again', {
            error: describeError(error),
          }),
        );
      },
      Math.ceil(this.#options.leaseMs / 3),
    );
    await this.renew().catch((error) => this.#logger.warn('starting without redis', { error: describeError(error) }));
  }

  /** Renews it now. */
  renew(): Promise<void> {
    return this.#renewal.run();
  }

  /** Ends the renewing, and gives up the groups of this node. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.allSettled([this.#renewal.running]);
    await this.#groups.retire();
  }

  async #renew(): Promise<void> {
    if (await this.#groups.renew()) this.#options.onLapsed?.();
  }
}
