import type { HeaderAuthenticator } from '../auth/guard.ts';
import type { Commits } from '../bus/commits.ts';
import type { Db } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import type { Streams } from '../stream/streams.ts';
import type { Substrate } from '../substrate/substrate.ts';
import type { Log } from '../telemetry/log.ts';
import { deletionWatch } from './lifecycle/deleted.ts';
import { LifecycleWorker } from './lifecycle/lifecycle-worker.ts';
import { Mutator } from './mutator/mutator.ts';
import { topologyRoutes } from './routes.ts';
import { topologyStream } from './stream.ts';

/** Well below what a proxy, or the server itself, waits for an answer. */
const DEPLOY_WAIT_MS = 3000;

export interface TopologyStartParts {
  readonly db: Db;
  readonly substrate: Substrate;
  readonly node: string;
  readonly logger: Log;
  readonly authenticator: HeaderAuthenticator;
  readonly commits: Commits;
  /** Called after each commit of a worker. */
  readonly wakeRelay: () => void;
  readonly streams: Pick<Streams, 'endChannel'>;
}

/** Topologies: what changes them, and what deploys them and tears them down. */
export function startTopology(parts: TopologyStartParts) {
  const { db, substrate, node, logger, authenticator, commits, wakeRelay, streams } = parts;
  const { onCommitted } = commits;
  const mutator = new Mutator({ db, substrate, node, logger, onCommitted: wakeRelay });
  const lifecycle = new LifecycleWorker({ db, substrate, logger, onCommitted: wakeRelay });
  commits.wakes(() => mutator.wake());
  return {
    routes: topologyRoutes({
      db,
      authenticator,
      onCommitted,
      onLifecycle: () => lifecycle.wake(),
      deployWaitMs: DEPLOY_WAIT_MS,
    }),
    streams: [topologyStream(db)],
    listeners: [deletionWatch((channel) => streams.endChannel(channel))],
    workers: [
      {
        role: 'mutator',
        reportsAs: 'mutator',
        listener: mutator.listener,
        start: () => mutator.start(),
        stop: () => mutator.stop(),
      },
      {
        role: 'lifecycle',
        listener: lifecycle.listener,
        start: () => lifecycle.start(),
        stop: () => lifecycle.stop(),
      },
    ],
  } satisfies Domain;
}
