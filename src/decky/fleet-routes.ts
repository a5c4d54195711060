import { Elysia } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { Db } from '../db/database.ts';
import { isStorable } from '../db/storable.ts';
import { AppError } from '../errors.ts';
import { bodyObject } from '../http/body-fields.ts';
import { deckyNameIn as nameIn } from './decky-name.ts';
import { fleetDeckyOf, lifecycleOf, listFleet, listLifecycle, requestRotation, setMutateInterval } from './fleet.ts';
import { checkedInterval } from './interval-field.ts';

export interface FleetRouteParts {
  readonly db: Db;
  readonly authenticator: HeaderAuthenticator;
  /** Called when there may be something to rotate: wakes the rotator of this node. */
  onRequested(): void;
}

const MAX_IDS = 200;

/** The flat fleet of deckies and their rotation (contract §5.8). */
export function fleetRoutes(parts: FleetRouteParts) {
  return new Elysia({ name: 'fleet-routes' }).use(reads(parts)).use(writes(parts));
}

function reads({ db, authenticator }: FleetRouteParts) {
  return new Elysia()
    .use(guard(authenticator, 'viewer'))
    .get('/deckies', async () => (await listFleet(db)).map(fleetDeckyOf))
    .get('/deckies/lifecycle', async ({ request }) => {
      const ids = idsIn(new URL(request.url).searchParams.getAll('ids'));
      return { rows: (await listLifecycle(db, ids)).map(lifecycleOf) };
    });
}

function writes({ db, authenticator, onRequested }: FleetRouteParts) {
  return new Elysia()
    .use(guard(authenticator, 'admin'))
    .post('/deckies/:name/mutate', async ({ params, principal, set }) => {
      const id = await requestRotation(db, nameIn(params.name), principal.username, Date.now());
      onRequested();
      set.status = 202;
      return { lifecycle_ids: [id] };
    })
    .put('/deckies/:name/mutate-interval', async ({ params, body }) => {
      const name = nameIn(params.name);
      await setMutateInterval(db, name, ownInterval(body), Date.now());
      onRequested();
      return { message: 'Mutation interval updated' };
    });
}

function idsIn(ids: readonly string[]): string[] {
  if (ids.length === 0) throw new AppError('bad_request', 'ids is required');
  if (ids.length > MAX_IDS) throw new AppError('invalid', `ids takes at most ${MAX_IDS}`);
  return ids.map((id) => (isStorable(id) ? id : ''));
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
