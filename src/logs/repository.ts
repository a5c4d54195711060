import { type RawBuilder, sql } from 'kysely';
import type { Db, Engine, Trx } from '../db/database.ts';
import type { LogRow } from '../db/schema.ts';
import { type Bucket, bucketsOf, countRange, linesOf } from './counts.ts';
import { LINES, minuteOf } from './log-projection.ts';
import { isEmptySearch, isOpenRange, type LogQuery, onlyColumn } from './search.ts';
import { matching } from './search-sql.ts';

/** Matches of a search that cannot be told from what is counted are counted up to here. */
export const COUNT_LIMIT = 5000;

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
  const time = timeOfBucket(width);
  const { search, range } = query;
  const only = onlyColumn(search);
  let lines: RawBuilder<unknown>;
  if (only === undefined) {
    const { from, where, order } = await matching(db, engine, query);
    lines = sql`(select logs.timestamp from ${from} where ${where} order by ${order} limit ${COUNT_LIMIT}) as found`;
  } else {
    // The index of the column holds all that is asked for, in order.
    const start = sql`timestamp >= ${range.start ?? ''}`;
    const end = range.end === undefined ? sql`1 = 1` : sql`timestamp <= ${range.end}`;
    lines = sql`logs where ${sql.ref(only.column)} = ${only.value} and ${start} and ${end}`;
  }
  const counted = sql<{ time: string; lines: number }>`select ${time} as time, count(*) as lines
    from ${lines} group by ${time}`;
  return (await counted.execute(db)).rows.map((row) => ({ minute: minuteOf(`${row.time}:00Z`), lines: row.lines }));
}

/** The time at which a line's bucket begins, or a minute or an hour that is wholly within its bucket. */
function timeOfBucket(width: number): RawBuilder<string> {
  if (width % 60 === 0) return sql<string>`substr(timestamp, 1, 13) || ':00'`;
  if (60 % width !== 0) return sql<string>`substr(timestamp, 1, 16)`;
  const part = sql`cast(substr(timestamp, 15, 2) as integer) / ${sql.lit(width)} * ${sql.lit(width)}`;
  return sql<string>`substr(timestamp, 1, 14) || substr(cast(100 + ${part} as text), 2)`;
}
