import type { HeaderAuthenticator } from '../auth/guard.ts';
import type { Db } from '../db/database.ts';

export interface TopologyRouteParts {
  readonly db: Db;
  readonly authenticator: HeaderAuthenticator;
  /** Called after each commit that wrote to the outbox: wakes the relay. */
  onCommitted(): void;
  /** Called when a topology is to be deployed or torn down: wakes this process's worker, Redis or not. */
  onLifecycle?(): void;
  /** Milliseconds that the answer to a deployment waits for its end; default 0. */
  readonly deployWaitMs?: number;
}
