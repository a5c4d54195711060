import { type RawBuilder, sql } from 'kysely';
import type { Db, Engine, Trx } from '../db/database.ts';
import type { LogRow } from '../db/schema.ts';
import { type Bucket, bucketsOf, countRange, linesOf, quartersOf } from './counts.ts';
import { LINES, minuteOf, QUARTER } from './log-projection.ts';
import { isEmptySearch, isOpenRange, type LogQuery, onlyColumn } from './search.ts';
import { matching } from './search-sql.ts';

/** Matches of a search that cannot be told from what is counted are counted up to here. */
export const COUNT_LIMIT = 1000;

/** Lines of one value are counted up to here where they are not counted already. */
const EXACT_LIMIT = 50_000;
/** Pages that begin further back are looked up by minute. */
const DEEP = 1000;

/** One page of the lines, the newest first. */
export async function listLogs(
  db: Db,
  engine: Engine,
  query: LogQuery,
  { limit, offset }: { limit: number; offset: number },
): Promise<{ total: number; rows: LogRow[] }> {
  const total = await countedLogs(db, query);
  if (total === undefined) return foundPage(db, engine, query, limit, offset);
  if (offset >= total) return { total, rows: [] };
  const isPlain = isEmptySearch(query.search) && isOpenRange(query.range);
  if (isPlain && offset > DEEP) return { total, rows: await deepPage(db, limit, offset) };
  const { from, where, order } = await matching(db, engine, query);
  const found = sql<LogRow>`select logs.* from ${from} where ${where} order by ${order} limit ${limit} offset ${offset}`;
  return { total, rows: (await found.execute(db)).rows };
}

/** The newest of the lines with a higher id, the newest first. */
export function linesAfter(db: Db | Trx, id: number, limit: number): Promise<LogRow[]> {
  return db.selectFrom('logs').selectAll().where('id', '>', id).orderBy('id', 'desc').limit(limit).execute();
}

/** How many lines each minute has says in which one a page begins: what comes before it is not walked over. */
async function deepPage(db: Db, limit: number, offset: number): Promise<LogRow[]> {
  const newer = sql<{ minute: number; newer: number }>`select minute, newer from
    (select minute, lines, sum(lines) over (order by minute desc) - lines as newer from log_minutes) as counted
    where newer <= ${offset} and newer + lines > ${offset}`;
  const [begin] = (await newer.execute(db)).rows;
  if (begin === undefined) return [];
  return db
    .selectFrom('logs')
    .selectAll()
    .where('timestamp', '<', new Date((begin.minute + 1) * 60_000).toISOString())
    .orderBy('timestamp', 'desc')
    .orderBy('id', 'desc')
    .limit(limit)
    .offset(offset - Number(begin.newer))
    .execute();
}

/** A page of a search whose matches have to be looked for, and how many there are. */
async function foundPage(db: Db, engine: Engine, query: LogQuery, limit: number, offset: number) {
  const { from, where, order } = await matching(db, engine, query);
  const found = sql<Pick<LogRow, 'id' | 'timestamp'>>`select logs.id, logs.timestamp from ${from} where ${where}`;
  if (engine === 'sqlite') {
    // In their order, so that the first of them are the page.
    const { rows } = await sql<{ id: number }>`${found} order by ${order} limit ${COUNT_LIMIT}`.execute(db);
    return { total: rows.length, rows: await linesWith(db, rows.slice(offset, offset + limit)) };
  }
  // In any order: told which, PostgreSQL takes its guess of how many there are for the truth, and looks at all lines from the
  // end where they are fewer, or sorts all where they are more.
  const { rows } = await sql<Pick<LogRow, 'id' | 'timestamp'>>`${found} limit ${COUNT_LIMIT}`.execute(db);
  if (offset >= rows.length) return { total: rows.length, rows: [] };
  if (rows.length < COUNT_LIMIT) {
    const newest = rows.sort((a, b) =>
      a.timestamp === b.timestamp ? b.id - a.id : a.timestamp < b.timestamp ? 1 : -1,
    );
    return { total: rows.length, rows: await linesWith(db, newest.slice(offset, offset + limit)) };
  }
  const page = sql<LogRow>`select logs.* from ${from} where ${where} order by ${order} limit ${limit} offset ${offset}`;
  return { total: rows.length, rows: (await page.execute(db)).rows };
}

/** The lines with these ids, in this order. */
async function linesWith(db: Db, page: readonly { readonly id: number }[]): Promise<LogRow[]> {
  if (page.length === 0) return [];
  const ids = page.map(({ id }) => id);
  const lines = await db.selectFrom('logs').selectAll().where('id', 'in', ids).execute();
  const byId = new Map(lines.map((line) => [line.id, line]));
  return ids.flatMap((id) => byId.get(id) ?? []);
}

/** How many lines a query asks for, where that is counted already. */
async function countedLogs(db: Db, query: LogQuery): Promise<number | undefined> {
  const { search, range } = query;
  if (isEmptySearch(search)) return isOpenRange(range) ? counterOf(db, LINES) : countRange(db, range);
  const only = onlyColumn(search);
  return only !== undefined && isOpenRange(range) ? linesOf(db, only.column, only.value) : undefined;
}

/** A number that is kept. */
export async function counterOf(db: Db | Trx, name: string): Promise<number> {
  const row = await db.selectFrom('counters').select('value').where('name', '=', name).executeTakeFirst();
  return row?.value ?? 0;
}

/** How many lines there are in each stretch of time that has any: where it begins, and how many. */
export async function histogram(
  db: Db,
  engine: Engine,
  query: LogQuery,
  intervalMinutes: number,
): Promise<{ time: string; count: number }[]> {
  const found = isEmptySearch(query.search)
    ? await bucketsOf(db, query.range, intervalMinutes)
    : await bucketsFound(db, engine, query, intervalMinutes);
  const buckets = new Map<number, number>();
  for (const { minute, lines } of found) {
    const start = Math.floor(minute / intervalMinutes) * intervalMinutes;
    buckets.set(start, (buckets.get(start) ?? 0) + Number(lines));
  }
  return [...buckets]
    .sort(([a], [b]) => a - b)
    .map(([start, count]) => ({ time: new Date(start * 60_000).toISOString().slice(0, 19).replace('T', ' '), count }));
}

async function bucketsFound(db: Db, engine: Engine, query: LogQuery, width: number): Promise<Bucket[]> {
  const only = onlyColumn(query.search);
  if (only !== undefined && isOpenRange(query.range) && width % QUARTER === 0) {
    const counted = await quartersOf(db, only.column, only.value);
    if (counted !== undefined) return counted;
  }
  const time = timeOfBucket(width);
  const { from, where, order } = await matching(db, engine, query);
  const counted = sql<{ time: string; lines: number }>`select ${time} as time, count(*) as lines from
    (select logs.timestamp from ${from} where ${where} order by ${order} limit ${only ? EXACT_LIMIT : COUNT_LIMIT}) as found
    group by ${time}`;
  return (await counted.execute(db)).rows.map((row) => ({ minute: minuteOf(`${row.time}:00Z`), lines: row.lines }));
}

/** The time at which a line's bucket begins, or a minute or an hour that is wholly within its bucket. */
function timeOfBucket(width: number): RawBuilder<string> {
  if (width % 60 === 0) return sql<string>`substr(timestamp, 1, 13) || ':00'`;
  if (60 % width !== 0) return sql<string>`substr(timestamp, 1, 16)`;
  const part = sql`cast(substr(timestamp, 15, 2) as integer) / ${sql.lit(width)} * ${sql.lit(width)}`;
  return sql<string>`substr(timestamp, 1, 14) || substr(cast(100 + ${part} as text), 2)`;
}
