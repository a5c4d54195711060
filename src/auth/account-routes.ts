import { Elysia, t } from 'elysia';
import { isStorable } from '../db/storable.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { guard, type HeaderAuthenticator } from './guard.ts';
import { accountOperations } from './schemas.ts';
import type { ServiceAccounts } from './service-accounts.ts';

export interface AccountRoutesParts {
  readonly authenticator: HeaderAuthenticator;
  readonly accounts: ServiceAccounts;
  readonly logger: Log;
}

/** A week: whoever needs longer to hand a secret on creates a second account. */
const MAX_GRACE_SECONDS = 7 * 24 * 3600;
/** The last second that a `Date` can name. */
const LAST_SECOND = 8.64e12;

const patterns = t.Array(t.String({ minLength: 1 }));
const rights = { publish: patterns, subscribe: patterns, control: t.Boolean() };
const newAccount = t.Object({
  name: t.String({ minLength: 1, maxLength: 64 }),
  ...rights,
  control: t.Optional(rights.control),
  expires_at: t.Optional(t.Union([t.Integer({ minimum: 0, maximum: LAST_SECOND }), t.Null()])),
});
const grace = t.Optional(
  t.Object({ grace_seconds: t.Optional(t.Integer({ minimum: 0, maximum: MAX_GRACE_SECONDS })) }),
);

/** `/service-accounts`: administrators make, list, change, renew and end the accounts of programs. */
export function accountRoutes({ authenticator, accounts, logger }: AccountRoutesParts) {
  return new Elysia({ name: 'account-routes', prefix: '/service-accounts' })
    .use(guard(authenticator, 'admin'))
    .get('/', async () => ({ items: await accounts.list() }), accountOperations.list)
    .get('/:uuid', ({ params }) => accounts.get(uuidIn(params.uuid)), accountOperations.read)
    .post(
      '/',
      async ({ body, principal, set }) => {
        const account = await accounts.create({ control: false, expires_at: null, ...body });
        logger.info('service account created', { account: account.uuid, name: body.name, by: principal.userUuid });
        set.status = 201;
        set.headers['cache-control'] = 'no-store';
        return account;
      },
      { body: newAccount, ...accountOperations.create },
    )
    .post(
      '/:uuid/rotate',
      async ({ params, body, principal, set }) => {
        const seconds = body?.grace_seconds ?? 0;
        const account = await accounts.rotate(uuidIn(params.uuid), seconds);
        logger.info('service account rotated', { account: account.uuid, grace: seconds, by: principal.userUuid });
        set.headers['cache-control'] = 'no-store';
        return account;
      },
      { body: grace, ...accountOperations.rotate },
    )
    .patch(
      '/:uuid',
      async ({ params, body, principal }) => {
        const account = await accounts.setRights(uuidIn(params.uuid), body);
        logger.info('service account has other rights', { account: account.uuid, by: principal.userUuid });
        return account;
      },
      { body: t.Partial(t.Object(rights)), ...accountOperations.setRights },
    )
    .delete(
      '/:uuid',
      async ({ params, principal, set }) => {
        await accounts.revoke(uuidIn(params.uuid));
        logger.info('service account revoked', { account: params.uuid, by: principal.userUuid });
        set.status = 204;
      },
      accountOperations.revoke,
    );
}

/** @throws {AppError} `not_found` for text that is none, whatever it is */
function uuidIn(text: string): string {
  if (!isStorable(text)) throw new AppError('not_found', 'Service account not found');
  return text;
}
