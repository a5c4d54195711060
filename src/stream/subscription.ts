import type { EventLog } from '../bus/event-log.ts';
import type { Groups } from '../bus/groups.ts';
import type { Log } from '../telemetry/log.ts';
import type { Hub } from './hub.ts';
import type { Recovery, Resumption } from './recovery.ts';
import type { SharedSnapshots } from './shared-snapshots.ts';
import type { Snapshot } from './snapshot.ts';
import type { View } from './view.ts';

/** What a stream tells beside its events, now and then: not part of the log, so no place is named by it. */
export interface Aside {
  /** Milliseconds from one to the next. */
  readonly everyMs: number;
  /** JSON objects on one line each; none while there is nothing to tell yet. */
  frames(): readonly string[];
}

/** What a client subscribed to. */
export interface Subscription {
  readonly view: View;
  readonly request: Resumption;
  /** Reads the state that a fresh client starts from; absent on streams without one. */
  readonly snapshot?: () => Promise<Snapshot>;
  /** Ends after the snapshot or the missed events. */
  readonly once: boolean;
  readonly aside?: Aside;
}

/** What all connections of a process share. */
export interface ConnectionParts {
  readonly eventLog: Pick<EventLog, 'position' | 'oldest'>;
  readonly groups: Pick<Groups, 'open' | 'read' | 'moveTo' | 'close'>;
  readonly hub: Pick<Hub, 'join' | 'leave' | 'epoch' | 'generation' | 'markOf'>;
  readonly recovery: Recovery;
  readonly snapshots: Pick<SharedSnapshots, 'read'>;
  readonly logger: Log;
  /** `retry:` for clients, in milliseconds; jittered for each connection. */
  readonly retryMs: number;
}
