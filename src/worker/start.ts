import type { EventLog } from '../bus/event-log.ts';
import type { Domain } from '../domain.ts';
import type { ProcessRoles } from '../roles.ts';
import type { Log } from '../telemetry/log.ts';
import { Worker } from './worker.ts';

export interface ReportingStartParts {
  readonly domains: readonly Domain[];
  readonly roles: ProcessRoles;
  readonly eventLog: Pick<EventLog, 'publish'>;
  readonly logger: Log;
}

/** Heartbeats and control (contract §8) for the workers of these domains that have a name to the outside. */
export function startReporting({ domains, roles, eventLog, logger }: ReportingStartParts): Domain {
  const workers = domains.flatMap((domain) => domain.workers ?? []).filter(({ role }) => roles.has(role));
  const byName = Map.groupBy(workers, ({ reportsAs }) => reportsAs);
  return {
    workers: [...byName].flatMap(([name, [first, ...others]]) => {
      if (name === undefined || first === undefined) return [];
      const parts = [first, ...others];
      const stop = () => Promise.all(parts.map((part) => part.stop()));
      const worker = new Worker({ name, events: eventLog, logger, stop });
      const { listener } = worker;
      return { role: first.role, listener, start: () => worker.start(), stop: () => worker.stop() };
    }),
  };
}
