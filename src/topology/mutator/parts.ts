import type { Db } from '../../db/database.ts';
import type { Substrate } from '../../substrate/substrate.ts';
import type { Log } from '../../telemetry/log.ts';

/** What applying a mutation needs. */
export interface MutatorParts {
  readonly db: Db;
  readonly substrate: Substrate;
  readonly logger: Log;
  /** Called after each commit that wrote to the outbox: wakes the relay. */
  onCommitted(): void;
  /** Milliseconds for which a mutation is this mutator's, unless renewed. */
  readonly leaseMs: number;
  /** Milliseconds since the epoch. */
  now(): number;
}
