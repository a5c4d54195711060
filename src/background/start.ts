import type { Config } from '../config.ts';
import type { Domain } from '../domain.ts';
import type { ProcessRoles } from '../roles.ts';
import type { Log } from '../telemetry/log.ts';
import { Background } from './background.ts';

export interface BackgroundStartParts {
  readonly config: Config;
  readonly bus: { readonly redisUrl: string };
  readonly logger: Log;
}

/** @param roles of the background process; with none there is none */
export function startBackground({ config, bus, logger }: BackgroundStartParts, roles: ProcessRoles): Domain {
  if (roles.size === 0) return {};
  const own = { ...config, roles, bus: { ...config.bus, redisUrl: bus.redisUrl } };
  const background = new Background(own, logger);
  return {
    workers: [
      {
        role: 'api',
        checks: { background: () => background.check() },
        start: () => background.start(),
        stop: () => background.stop(),
      },
    ],
  };
}
