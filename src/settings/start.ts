import type { HeaderAuthenticator } from '../auth/guard.ts';
import type { Commits } from '../bus/commits.ts';
import type { Config } from '../config.ts';
import type { Db } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import { settingsRoutes } from './routes.ts';
import { Settings } from './settings.ts';

export interface SettingsStartParts {
  readonly config: Pick<Config, 'developer'>;
  readonly authenticator: HeaderAuthenticator;
  readonly settings: Settings;
}

/** As DECNET does. */
const DEPLOYMENT_LIMIT = 10;

/** The settings of an installation, which begin with what the process was configured with. */
export function configuredSettings({ pipeline }: Pick<Config, 'pipeline'>, db: Db, { onCommitted }: Commits): Settings {
  const defaults = { deployment_limit: DEPLOYMENT_LIMIT, global_mutation_interval: pipeline.mutationInterval };
  return new Settings(db, defaults, onCommitted);
}

/** What administrators set while it runs. */
export function startSettings({ config, authenticator, settings }: SettingsStartParts) {
  return { routes: settingsRoutes({ authenticator, settings, developer: config.developer }) } satisfies Domain;
}
