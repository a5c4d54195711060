import { Elysia } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { Db } from '../db/database.ts';
import { isStorable } from '../db/storable.ts';
import { AppError } from '../errors.ts';
import { BodyFields, bodyObject } from '../http/body-fields.ts';
import type { Settings } from '../settings/settings.ts';
import type { Substrate } from '../substrate/substrate.ts';
import { deckyNameIn as nameIn } from './decky-name.ts';
import { type Deployment, deployFleet } from './deploy/deploy.ts';
import { wantedFleet } from './deploy/wanted.ts';
import { fleetDeckyOf, listAwaited, listFleet, requestRotation, setMutateInterval } from './fleet.ts';
import { checkedInterval } from './interval-field.ts';
import { removeFleetDecky } from './remove.ts';
import { fleetOperations } from './schemas.ts';

export interface FleetRouteParts {
  readonly db: Db;
  readonly settings: Pick<Settings, 'read'>;
  readonly substrate: Substrate;
  /** CIDR: where deckies get their addresses for which nobody names a network. */
  readonly network: string;
  readonly authenticator: HeaderAuthenticator;
  /** Called after each commit that wrote to the outbox. */
  onCommitted(): void;
  /** Called when there may be something to rotate: wakes the rotator of this node. */
  onRequested(): void;
}

const MAX_IDS = 200;

/** The flat fleet of deckies and their rotation (contract §5.8). */
export function fleetRoutes(parts: FleetRouteParts) {
  return new Elysia({ name: 'fleet-routes' }).use(reads(parts)).use(writes(parts));
}

function reads({ db, authenticator }: FleetRouteParts) {
  return (
    new Elysia()
      .use(guard(authenticator, 'viewer'))
      .get('/deckies', async () => (await listFleet(db)).map(fleetDeckyOf), fleetOperations.list)
      // Swarms are outside of what this server does.
      .get(
        '/system/deployment-mode',
        () => ({ mode: 'unihost', role: 'master', swarm_host_count: 0 }),
        fleetOperations.mode,
      )
      .get(
        '/deckies/lifecycle',
        async ({ request }) => {
          const ids = idsIn(new URL(request.url).searchParams.getAll('ids'));
          return { rows: await listAwaited(db, ids, Date.now()) };
        },
        fleetOperations.lifecycle,
      )
  );
}

function writes(parts: FleetRouteParts) {
  const { db, settings, substrate, network, authenticator, onCommitted, onRequested } = parts;
  return new Elysia()
    .use(guard(authenticator, 'admin'))
    .post(
      '/deckies/:name/mutate',
      async ({ params, principal, set }) => {
        const id = await requestRotation(db, nameIn(params.name), principal.username, Date.now());
        onRequested();
        set.status = 202;
        return { lifecycle_ids: [id] };
      },
      fleetOperations.mutate,
    )
    .post(
      '/deckies/deploy',
      async ({ body, principal, set }) => {
        const deployment = { ...deploymentIn(body), actor: principal.username };
        const ids = await deployFleet(db, settings, deployment, network, Date.now());
        onCommitted();
        onRequested();
        set.status = 202;
        const count = deployment.fleet.deckies.length;
        return { message: `${count} deckies are being deployed`, mode: 'unihost', lifecycle_ids: ids };
      },
      fleetOperations.deploy,
    )
    .delete(
      '/deckies/:name',
      async ({ params }) => {
        await removeFleetDecky({ db, substrate, onCommitted }, nameIn(params.name));
        return new Response(null, { status: 204 });
      },
      fleetOperations.remove,
    )
    .put(
      '/deckies/:name/mutate-interval',
      async ({ params, body }) => {
        const name = nameIn(params.name);
        await setMutateInterval(db, name, ownInterval(body), Date.now());
        onRequested();
        return { message: 'Mutation interval updated' };
      },
      fleetOperations.setInterval,
    );
}

function idsIn(ids: readonly string[]): string[] {
  if (ids.length === 0) throw new AppError('bad_request', 'ids is required');
  if (ids.length > MAX_IDS) throw new AppError('invalid', `ids takes at most ${MAX_IDS}`);
  return ids.map((id) => (isStorable(id) ? id : ''));
}

const DEPLOYMENT_KEYS: readonly string[] = ['ini_content', 'replace_fleet'];
/** In UTF-8 bytes (contract P2.4). */
const MAX_INI_BYTES = 512 * 1024;

/** @throws {AppError} `bad_request`, `invalid`, and `conflict` for an INI that asks for what cannot be */
function deploymentIn(body: unknown): Omit<Deployment, 'actor'> {
  const fields = new BodyFields(body);
  const strange = Object.keys(bodyObject(body)).find((key) => !DEPLOYMENT_KEYS.includes(key));
  if (strange !== undefined) throw new AppError('bad_request', `${strange} is not known here`);
  const ini = fields.text('ini_content', { min: 0, max: MAX_INI_BYTES });
  if (Buffer.byteLength(ini) > MAX_INI_BYTES) fields.refuse(`ini_content has at most ${MAX_INI_BYTES} bytes`);
  const replaces = fields.booleanOr('replace_fleet', false);
  fields.check();
  return { fleet: wantedFleet(ini, Math.random), replaces };
}

/**
 * DECNET's own page sends a number of minutes where DECNET asks for text: both are taken. Null and nothing take it away.
 * @throws {AppError} `bad_request` for what is neither, `invalid` for another interval
 */
function ownInterval(body: unknown): string | null {
  const interval = bodyObject(body).mutate_interval;
  if (interval === undefined || interval === null) return null;
  if (typeof interval === 'string') return checkedInterval(interval, 'mutate_interval');
  if (typeof interval === 'number' && Number.isInteger(interval)) {
    return checkedInterval(`${interval}m`, 'mutate_interval');
  }
  throw new AppError('bad_request', 'mutate_interval must be a whole number of minutes, or text such as 30m or 5d');
}
