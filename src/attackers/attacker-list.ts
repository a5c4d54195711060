import { type SelectQueryBuilder, type SqlBool, sql } from 'kysely';
import { countUpTo } from '../db/count-up-to.ts';
import type { Db, Engine } from '../db/database.ts';
import type { AttackerRow, Database } from '../db/schema.ts';
import { COUNT_LIMIT, type Page, type Paged } from '../http/paging.ts';
import { attackerRows } from './attacker-rows.ts';

/** Orders of the list, each by an index, and by uuid where that leaves a choice. */
const ORDERS = {
  recent: ['last_seen'],
  active: ['event_count'],
  traversals: ['is_traversal', 'last_seen'],
} as const;
export const SORTS = ['recent', 'active', 'traversals'] as const satisfies (keyof typeof ORDERS)[];

/** A filter that fits at most so many attackers is followed through its index. */
const FEW = 2000;
/** Where all filters fit more, so many of the first attackers in the order are looked at. */
const WINDOW = 5000;
/** A shorter text has no trigram. */
const TRIGRAM = 3;

export interface AttackerQuery extends Page {
  readonly sortBy: (typeof SORTS)[number];
  /** A part of the address. */
  readonly search: string | undefined;
  /** One of the services that the attacker has touched. */
  readonly service: string | undefined;
}

/** What lists are sorted and filtered by. */
const LISTED = ['uuid', 'ip', 'last_seen', 'event_count', 'is_traversal'] as const;
type Listed = { attackers: Pick<AttackerRow, (typeof LISTED)[number]> } & Omit<Database, 'attackers'>;
type Found = SelectQueryBuilder<Listed, 'attackers', object>;

/** One page of the attackers (contract P5). */
export async function listAttackers(db: Db, engine: Engine, query: AttackerQuery): Promise<Paged<AttackerRow>> {
  const found = await matching(db, engine, query);
  const total = await countUpTo(db, found, COUNT_LIMIT);
  if (query.offset >= total) return { total, rows: [] };
  let page = found.select('attackers.uuid');
  for (const column of ORDERS[query.sortBy]) page = page.orderBy(`attackers.${column}`, 'desc');
  const uuids = await page.orderBy('attackers.uuid', 'desc').limit(query.limit).offset(query.offset).execute();
  return {
    total,
    rows: await attackerRows(
      db,
      uuids.map(({ uuid }) => uuid),
    ),
  };
}

async function matching(db: Db, engine: Engine, query: AttackerQuery): Promise<Found> {
  const { search, service } = query;
  let found: Found = db.selectFrom(db.selectFrom('attackers').select(LISTED).as('attackers'));
  if (search === undefined && service === undefined) return found;
  const few = await fewAddresses(db, engine, query);
  found = few === undefined ? firstAttackers(db, query) : found.where('attackers.ip', 'in', few);
  if (search !== undefined) found = found.where(containsPart(engine, search));
  if (service !== undefined) found = found.where(touched(service));
  return found;
}

/** The addresses that one of the filters leaves, where they are few; `undefined` where no filter leaves few. */
async function fewAddresses(db: Db, engine: Engine, { search, service }: AttackerQuery) {
  if (service !== undefined) {
    const found = db.selectFrom('attacker_services').where('service', '=', service);
    if ((await countUpTo(db, found, FEW + 1)) <= FEW) return found.select('ip');
  }
  if (search === undefined || [...search].length < TRIGRAM) return undefined;
  const found = addressesWith(engine, search);
  const counted = sql<{ total: number }>`select count(*) as total from (${found} limit ${FEW + 1}) as found`;
  const total = Number((await counted.execute(db)).rows[0]?.total ?? 0);
  return total <= FEW ? sql<string>`(${found})` : undefined;
}

/** Read without the rows: the indexes of migration 021 hold all that is asked for. */
function firstAttackers(db: Db, { sortBy }: AttackerQuery): Found {
  let first = db.selectFrom('attackers').select(LISTED);
  for (const column of ORDERS[sortBy]) first = first.orderBy(column, 'desc');
  return db.selectFrom(first.orderBy('uuid', 'desc').limit(WINDOW).as('attackers'));
}

/** By the trigrams of migrations 021 and 026. */
function addressesWith(engine: Engine, part: string) {
  if (engine === 'postgres') return sql`select attackers.ip from attackers where ${containsPart(engine, part)}`;
  return sql`select attacker_addresses.ip from attacker_search
    cross join attacker_addresses on attacker_addresses.id = attacker_search.rowid
    where attacker_search match ${`"${part.replaceAll('"', '""')}"`}`;
}

/** `%` and `_` are themselves. */
function containsPart(engine: Engine, part: string) {
  // The expression of PostgreSQL's index.
  const asked = sql.raw(engine === 'postgres' ? "(attackers.ip || '') ilike" : 'attackers.ip like');
  return sql<SqlBool>`${asked} ${`%${part.replace(/[\\%_]/g, (char) => `\\${char}`)}%`} escape '\\'`;
}

/**
 * Looked up for each of the few rows that are left. PostgreSQL would make a join of an `exists`, and choose it by statistics
 * that a young table has not got.
 */
function touched(service: string) {
  return sql<SqlBool>`(select 1 from attacker_services as touched
    where touched.service = ${service} and touched.ip = attackers.ip limit 1) is not null`;
}
