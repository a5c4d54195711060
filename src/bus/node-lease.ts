import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import type { Groups } from './groups.ts';
import { Renewal } from './renewal.ts';

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
  #renewal: Renewal | undefined;

  constructor(groups: Groups, logger: Log, options: NodeLeaseOptions) {
    this.#groups = groups;
    this.#logger = logger;
    this.#options = options;
  }

  /** Takes the lease at once and keeps it; with Redis away, as soon as it is back. */
  async start(): Promise<void> {
    const warn = (message: string) => (error: unknown) => this.#logger.warn(message, { error: describeError(error) });
    this.#renewal = new Renewal({
      leaseMs: this.#options.leaseMs,
      renew: () => this.renew(),
      onError: warn('the lease of this node could not be renewed; trying again'),
    });
    await this.#renewal.now().catch(warn('starting without redis'));
  }

  /** Renews it once. */
  async renew(): Promise<void> {
    if (await this.#groups.renew()) this.#options.onLapsed?.();
  }

  /** Ends the renewing, and gives up the groups of this node. */
  async stop(): Promise<void> {
    await this.#renewal?.stop();
    await this.#groups.retire();
  }
}
