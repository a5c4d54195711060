import type { HeaderAuthenticator } from '../auth/guard.ts';
import type { Commits } from '../bus/commits.ts';
import type { Config } from '../config.ts';
import type { Db } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import { LINES } from '../logs/log-projection.ts';
import { counterOf } from '../projection/counters.ts';
import { askForPurge } from '../projection/purge.ts';
import { rosterCounter } from '../projection/roster.ts';
import type { Log } from '../telemetry/log.ts';
import { settingsRoutes } from './routes.ts';
import { Settings } from './settings.ts';

export interface SettingsStartParts {
  readonly config: Pick<Config, 'developer'>;
  readonly authenticator: HeaderAuthenticator;
  readonly settings: Settings;
  readonly db: Db;
  readonly commits: Commits;
  readonly logger: Log;
}

/** As DECNET does. */
const DEPLOYMENT_LIMIT = 10;

/** The settings of an installation, which begin with what the process was configured with. */
export function configuredSettings({ pipeline }: Pick<Config, 'pipeline'>, db: Db, { onCommitted }: Commits): Settings {
  const defaults = { deployment_limit: DEPLOYMENT_LIMIT, global_mutation_interval: pipeline.mutationInterval };
  return new Settings(db, defaults, onCommitted);
}

/** What administrators set while it runs. */
export function startSettings({ config, authenticator, settings, db, commits, logger }: SettingsStartParts) {
  const { developer } = config;
  const purge = async (actor: string) => {
    const deleted = {
      ...{ logs: await counterOf(db, LINES), bounties: 0, credentials: 0 },
      attackers: await counterOf(db, rosterCounter('attackers')),
    };
    await askForPurge(db, actor, commits.onCommitted);
    return deleted;
  };
  return { routes: settingsRoutes({ authenticator, settings, developer, purge, logger }) } satisfies Domain;
}
