import type { Domain } from '../domain.ts';
import type { WorkerName } from '../workers/registry.ts';

/** Those of DECNET's workers whose events the demonstration makes up. */
export const PLAYED_WORKERS: readonly WorkerName[] = [
  'collector',
  'profiler',
  'sniffer',
  'clusterer',
  'campaign-clusterer',
  'orchestrator',
];

/** The list of workers shows whose part is played: each has a heartbeat, and falls silent when it is told to stop. */
export function startDemoWorkers(): Domain {
  const nothing = () => {};
  return {
    workers: PLAYED_WORKERS.map((reportsAs) => ({ role: 'api', reportsAs, start: nothing, stop: nothing })),
  };
}
