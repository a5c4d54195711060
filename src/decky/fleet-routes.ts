import { Elysia } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { Db } from '../db/database.ts';
import { isStorable } from '../db/storable.ts';
import { AppError } from '../errors.ts';
import { BodyFields } from '../http/body-fields.ts';
import { fleetDeckyOf, lifecycleOf, listFleet, listLifecycle, requestRotation, setMutateInterval } from './fleet.ts';
import { intervalMs } from './rotation.ts';
import { fleetOperations } from './schemas.ts';

export interface FleetRouteParts {
  readonly db: Db;
  readonly authenticator: HeaderAuthenticator;
  /** Called when there may be something to rotate: wakes the rotator of this node. */
  onRequested(): void;
}

const NAME = /^[a-z0-9-]{1,64}$/;
const MAX_IDS = 200;
/** Longer than any interval. */
const MAX_INTERVAL_LENGTH = 16;

/** The flat fleet of deckies and their rotation (contract §5.8). */
export function fleetRoutes(parts: FleetRouteParts) {
  return new Elysia({ name: 'fleet-routes' }).use(reads(parts)).use(writes(parts));
}

function reads({ db, authenticator }: FleetRouteParts) {
  return new Elysia()
    .use(guard(authenticator, 'viewer'))
    .get('/deckies', async () => (await listFleet(db)).map(fleetDeckyOf), fleetOperations.list)
    .get(
      '/deckies/lifecycle',
      async ({ request }) => {
        const ids = idsIn(new URL(request.url).searchParams.getAll('ids'));
        return { rows: (await listLifecycle(db, ids)).map(lifecycleOf) };
      },
      fleetOperations.lifecycle,
    );
}

function writes({ db, authenticator, onRequested }: FleetRouteParts) {
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
    .put(
      '/deckies/:name/mutate-interval',
      async ({ params, body }) => {
        const name = nameIn(params.name);
        await setMutateInterval(db, name, intervalIn(body), Date.now());
        onRequested();
        return { message: 'Mutation interval updated' };
      },
      fleetOperations.setInterval,
    );
}

function nameIn(name: string | null): string {
  if (name !== null && NAME.test(name)) return name;
  throw new AppError('invalid', 'a decky name is 1 to 64 of a-z, 0-9 and -');
}

function idsIn(ids: readonly string[]): string[] {
  if (ids.length === 0) throw new AppError('bad_request', 'ids is required');
  if (ids.length > MAX_IDS) throw new AppError('invalid', `ids takes at most ${MAX_IDS}`);
  return ids.map((id) => (isStorable(id) ? id : ''));
}

function intervalIn(body: unknown): string | null {
  const fields = new BodyFields(body);
  if (!fields.has('mutate_interval')) throw new AppError('bad_request', 'mutate_interval is required');
  const interval = fields.textOrNull('mutate_interval', { min: 0, max: MAX_INTERVAL_LENGTH });
  fields.check();
  if (interval !== null && intervalMs(interval) === undefined) {
    throw new AppError(
      'invalid',
      'mutate_interval must be a number and a unit of m, h, d, w, M or y, such as 30m or 5d',
    );
  }
  return interval;
}
