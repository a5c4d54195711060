import { Elysia, t } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { Db, Engine } from '../db/database.ts';
import { laxInteger } from '../http/lax-integer.ts';
import { envelopeOf, filterOf, pageFields } from '../http/paging.ts';
import { attackerOf } from '../identity/model.ts';
import type { FreshRows } from '../projection/fresh-rows.ts';
import { attackerDetail, attributionFor, intelOf, smtpTargets, UNTOLD } from './attacker-detail.ts';
import { listAttackers, SORTS } from './attacker-list.ts';
import { ATTACKER_PROJECTION } from './attacker-projection.ts';
import { keptLines, triedCommands } from './attacker-traces.ts';
import { attackerCalled } from './called.ts';
import { download, type Exported, mispEvents, stixBundle } from './exports.ts';
import { attackerOperations as operations } from './schemas.ts';

export interface AttackerRouteParts {
  readonly db: Db;
  readonly engine: Engine;
  readonly authenticator: HeaderAuthenticator;
  readonly freshRows: Pick<FreshRows, 'wait'>;
}

const text = t.Optional(t.String({ maxLength: 512 }));
const list = t.Object({
  ...pageFields,
  search: text,
  service: text,
  sort_by: t.UnionEnum([...SORTS], { default: 'recent' }),
});
/** The page of an attacker reads him again when it hears of his identity. */
const FOLLOWED = [{ projection: ATTACKER_PROJECTION, channel: 'identity' }];
/** Attackers of an export, the last seen. */
const MOST_EXPORTED = 1000;

/** What the pages of attackers read (contract P5). */
export function attackerRoutes({ db, engine, authenticator, freshRows }: AttackerRouteParts) {
  const all = () => newestAttackers(db);
  const one = async (uuid: string) => [await exported(db, uuid)];
  const viewers = new Elysia()
    .use(guard(authenticator, 'viewer'))
    .get(
      '/attackers',
      async ({ query: { limit, offset, search, service, sort_by: sortBy } }) => {
        const asked = { limit, offset, sortBy, search: filterOf(search), service: filterOf(service) };
        const { total, rows } = await listAttackers(db, engine, asked);
        return envelopeOf({ total, rows: rows.map((row) => ({ ...attackerOf(row), ...UNTOLD })) }, asked);
      },
      { query: list, ...operations.list },
    )
    .get(
      '/attackers/export/stix',
      async () => download('attackers-stix', stixBundle(await all())),
      operations.stixOfAll,
    )
    .get(
      '/attackers/export/misp',
      async () => download('attackers-misp', mispEvents(await all())),
      operations.mispOfAll,
    )
    .get(
      '/attackers/:id',
      async ({ params }) => {
        await freshRows.wait(FOLLOWED);
        return attackerDetail(db, params.id);
      },
      operations.read,
    )
    .get('/attackers/:id/attribution', ({ params }) => attributionFor(db, params.id), operations.attribution)
    .get(
      '/attackers/:id/commands',
      async ({ params, query }) => {
        const asked = commandPage(query);
        return envelopeOf(await triedCommands(db, params.id, asked), asked);
      },
      operations.commands,
    )
    .get('/attackers/:id/artifacts', ({ params }) => keptLines(db, params.id, 'artifacts'), operations.artifacts)
    .get('/attackers/:id/transcripts', ({ params }) => keptLines(db, params.id, 'transcripts'), operations.transcripts)
    .get('/attackers/:id/smtp-targets', ({ params }) => smtpTargets(db, params.id), operations.smtpTargets)
    .get('/attackers/:id/intel', ({ params }) => intelOf(db, params.id), operations.intel)
    .get(
      '/attackers/:id/export/stix',
      async ({ params }) => download('attacker-stix', stixBundle(await one(params.id))),
      operations.stix,
    )
    .get(
      '/attackers/:id/export/misp',
      async ({ params }) => download('attacker-misp', mispEvents(await one(params.id))),
      operations.misp,
    );
  const admins = new Elysia()
    .use(guard(authenticator, 'admin'))
    .get('/attackers/:id/mail', ({ params }) => keptLines(db, params.id, 'mail'), operations.mail);
  return new Elysia({ name: 'attacker-routes' }).use(viewers).use(admins);
}

/** The page shows a dialog for each 422 of this route: what is out of range is brought into it (contract P5). */
function commandPage(query: Readonly<Record<string, string | undefined>>) {
  const within = (name: string, least: number, most: number, fallback: number) =>
    Math.min(most, Math.max(least, laxInteger(query[name]) ?? fallback));
  return {
    limit: within('limit', 1, 200, 50),
    offset: within('offset', 0, 2 ** 31 - 1, 0),
    service: filterOf(query.service),
  };
}

function newestAttackers(db: Db): Promise<Exported[]> {
  return db
    .selectFrom('attackers')
    .select(['uuid', 'ip', 'first_seen', 'last_seen'])
    .orderBy('last_seen', 'desc')
    .orderBy('uuid', 'desc')
    .limit(MOST_EXPORTED)
    .execute();
}

async function exported(db: Db, uuid: string): Promise<Exported> {
  const { ip } = await attackerCalled(db, uuid);
  return db
    .selectFrom('attackers')
    .select(['uuid', 'ip', 'first_seen', 'last_seen'])
    .where('ip', '=', ip)
    .executeTakeFirstOrThrow();
}
