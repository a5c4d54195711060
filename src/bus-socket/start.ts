import type { EventLog } from '../bus/event-log.ts';
import type { Config } from '../config.ts';
import type { Domain } from '../domain.ts';
import type { Stops } from '../stops.ts';
import type { Log } from '../telemetry/log.ts';
import { startBusSocket } from './server.ts';

export interface BusSocketStartParts {
  readonly config: Pick<Config, 'busSocket' | 'roles'>;
  readonly eventLog: EventLog;
  readonly logger: Log;
  readonly stops: Stops;
}

/**
 * DECNET's own bus, where a path is configured. It listens from here on: a process that cannot have its socket does not
 * start, and what peers publish waits for the tail.
 */
export async function startDecnetBus({ config, eventLog, logger, stops }: BusSocketStartParts): Promise<Domain> {
  if (!config.roles.has('bus-socket')) return {};
  const socket = await startBusSocket({ options: config.busSocket, events: eventLog, logger });
  if (socket === undefined) return {};
  // Apart from the worker, which begins later: it ends even when the start fails before that.
  stops.add(() => socket.stop());
  return {
    workers: [
      {
        role: 'bus-socket',
        listener: socket.listener,
        counts: () => ({ bus_socket: socket.stats }),
        start() {},
        stop() {},
      },
    ],
  };
}
