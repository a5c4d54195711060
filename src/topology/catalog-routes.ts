import { Elysia, t } from 'elysia';
import { guard } from '../auth/guard.ts';
import { ARCHETYPES } from '../catalog/archetypes.ts';
import { FLEET_SINGLETONS, KNOWN_SERVICES, serviceNamed } from '../catalog/services.ts';
import { AppError } from '../errors.ts';
import { nextAddress, nextSubnet, parseCidr } from './addresses.ts';
import { takenAddresses } from './decky-config.ts';
import { found } from './editing/edit.ts';
import { findTopology } from './repository.ts';
import type { TopologyRouteParts } from './route-parts.ts';
import { catalogOperations } from './schemas.ts';
import { LAN_POOL, usedSubnets } from './subnets.ts';

const byBase = t.Object({ base: t.String({ default: LAN_POOL }) });

/** What topologies are made of, and what is free for them (contract §5.9). */
export function catalogRoutes({ db, authenticator }: Pick<TopologyRouteParts, 'db' | 'authenticator'>) {
  return new Elysia()
    .use(guard(authenticator, 'viewer'))
    .get(
      '/topologies/services',
      () => ({ services: KNOWN_SERVICES, fleet_singletons: FLEET_SINGLETONS }),
      catalogOperations.services,
    )
    .get(
      '/topologies/services/:name/schema',
      ({ params }) => found('Service', serviceNamed(params.name)),
      catalogOperations.serviceSchema,
    )
    .get('/topologies/archetypes', () => ({ archetypes: ARCHETYPES }), catalogOperations.archetypes)
    .get(
      '/topologies/next-subnet',
      async ({ query }) => {
        const subnet = nextSubnet(poolOf(query.base), await usedSubnets(db));
        if (subnet === undefined) throw new AppError('conflict', `No free /24 is left in ${query.base}`);
        return { subnet };
      },
      { query: byBase, ...catalogOperations.nextSubnet },
    )
    .get(
      '/topologies/:id/lans/:lan/next-ip',
      async ({ params }) => {
        const { lans, deckies } = found('Topology', await findTopology(db, params.id));
        const lan = found(
          'LAN',
          lans.find(({ id }) => id === params.lan),
        );
        const ip = nextAddress(lan.subnet, takenAddresses(deckies, lan));
        if (ip === undefined) throw new AppError('conflict', `No free address is left in LAN '${lan.name}'`);
        return { subnet: lan.subnet, ip };
      },
      catalogOperations.nextAddress,
    );
}

/**
 * DECNET's dashboard names the pool by its leading bytes (`10.0`); a network (`10.0.0.0/16`) is taken as well.
 * @returns CIDR
 * @throws {AppError} `invalid`
 */
function poolOf(base: string): string {
  const bytes = base.split('.');
  const zeros = Array.from({ length: 4 - bytes.length }, () => '0');
  const pool = base.includes('/') ? base : `${[...bytes, ...zeros].join('.')}/${bytes.length * 8}`;
  if (parseCidr(pool) === undefined)
    throw new AppError('invalid', 'base must be a network such as 10.0 or 10.0.0.0/16');
  return pool;
}
