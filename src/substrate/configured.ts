import type { Config } from '../config.ts';
import type { Db } from '../db/database.ts';
import { installationId } from './claim.ts';
import { recordSubstrate } from './record.ts';
import type { Substrate } from './substrate.ts';

/** What runs deckies, as the configuration says. */
export async function configuredSubstrate({ pipeline }: Pick<Config, 'pipeline'>, db: Db): Promise<Substrate> {
  if (pipeline.substrate === 'record') return recordSubstrate;
  // Loaded only where it is used: the client library takes longer to load than all the rest to start.
  const { createDockerSubstrate } = await import('./docker.ts');
  const { dockerSocket: socketPath, dockerImage: image } = pipeline;
  return createDockerSubstrate({ socketPath, image, installation: await installationId(db) });
}
