import { sql } from 'kysely';
import type { Db, Engine, Trx } from '../db/database.ts';
import type { LogRow } from '../db/schema.ts';
import { countRange, linesOf, minutesOf } from './counts.ts';
import { LINES } from './log-projection.ts';
import { isEmptySearch, isOpenRange, type LogQuery, onlyColumn } from './search.ts';
import { matching } from './search-sql.ts';

/** Matches of a search that cannot be told from what is counted are counted up to here. */
export const COUNT_LIMIT = 10_000;

/** One page of the lines, the newest first. */
export async function listLogs(
  db: Db,
  engine: Engine,
  query: LogQuery,
  { limit, offset }: { limit: number; offset: number },
): Promise<{ total: number; rows: LogRow[] }> {
  const total = await countLogs(db, engine, query);
  if (offset >= total) return { total, rows: [] };
  const isPlain = isEmptySearch(query.search) && isOpenRange(query.range);
  if (isPlain && offset > total / 2) return { total, rows: await fromTheEnd(db, total, limit, offset) };
  const { from, where, order } = await matching(db, engine, query);
  const found = sql<LogRow>`select logs.* from ${from} where ${where} order by ${order} limit ${limit} offset ${offset}`;
  return { total, rows: (await found.execute(db)).rows };
}

/** Lines with a higher id, the oldest first. */
export function linesAfter(db: Db | Trx, id: number, limit: number): Promise<LogRow[]> {
  return db.selectFrom('logs').selectAll().where('id', '>', id).orderBy('id').limit(limit).execute();
}

/** Deep pages are near the other end. */
async function fromTheEnd(db: Db, total: number, limit: number, offset: number): Promise<LogRow[]> {
  const rows = await db
    .selectFrom('logs')
    .selectAll()
    .orderBy('timestamp')
    .orderBy('id')
    .limit(Math.min(limit, total - offset))
    .offset(Math.max(0, total - offset - limit))
    .execute();
  return rows.reverse();
}

async function countLogs(db: Db, engine: Engine, query: LogQuery): Promise<number> {
  const { search, range } = query;
  if (isEmptySearch(search)) return isOpenRange(range) ? counterOf(db, LINES) : countRange(db, range);
  const only = onlyColumn(search);
  if (only !== undefined && isOpenRange(range)) return linesOf(db, only.column, only.value);
  const { from, where } = await matching(db, engine, query);
  const found = sql<{ total: number }>`select count(*) as total from
    (select 1 from ${from} where ${where} limit ${COUNT_LIMIT}) as found`;
  return Number((await found.execute(db)).rows[0]?.total ?? 0);
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
  const minutes = isEmptySearch(query.search)
    ? await minutesOf(db, query.range)
    : await minutesFound(db, engine, query);
  const buckets = new Map<number, number>();
  const width = intervalMinutes * 60_000;
  for (const { minute, lines } of minutes) {
    const start = Math.floor(Date.parse(`${minute}:00Z`) / width) * width;
    buckets.set(start, (buckets.get(start) ?? 0) + lines);
  }
  return [...buckets]
    .sort(([a], [b]) => a - b)
    .map(([start, count]) => ({ time: new Date(start).toISOString().slice(0, 19).replace('T', ' '), count }));
}

async function minutesFound(db: Db, engine: Engine, query: LogQuery): Promise<{ minute: string; lines: number }[]> {
  const only = onlyColumn(query.search);
  const minute = sql<string>`substr(timestamp, 1, 16)`;
  if (only !== undefined) {
    // The index of the column holds all that is asked for, in order.
    let select = db.selectFrom('logs').where(only.column, '=', only.value);
    if (query.range.start !== undefined) select = select.where('timestamp', '>=', query.range.start);
    if (query.range.end !== undefined) select = select.where('timestamp', '<=', query.range.end);
    return select
      .select((eb) => [minute.as('minute'), eb.fn.countAll<number>().as('lines')])
      .groupBy(minute)
      .execute();
  }
  const { from, where, order } = await matching(db, engine, query);
  const found = sql<{ minute: string; lines: number }>`select ${minute} as minute, count(*) as lines from
    (select logs.timestamp from ${from} where ${where} order by ${order} limit ${COUNT_LIMIT}) as found group by ${minute}`;
  return (await found.execute(db)).rows;
}
