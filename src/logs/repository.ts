import { type RawBuilder, sql } from 'kysely';
import type { Db, Engine, Trx } from '../db/database.ts';
import type { LogRow } from '../db/schema.ts';
import { counterOf } from '../projection/counters.ts';
import { type Bucket, bucketsOf, countRange, linesOf, quartersOf } from './counts.ts';
import { LINES, minuteOf, QUARTER } from './log-projection.ts';
import { isEmptySearch, isOpenRange, type LogQuery, onlyColumn } from './search.ts';
import { foundLines, NEWEST, within } from './search-sql.ts';

/** Matches of a search that cannot be told from what is counted are counted up to here. */
const COUNT_LIMIT = 1000;

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
  if (total === undefined) {
    const found = await foundLines(db, engine, query, COUNT_LIMIT);
    return { total: found.length, rows: await linesWith(db, found.slice(offset, offset + limit)) };
  }
  if (offset >= total) return { total, rows: [] };
  const isPlain = isEmptySearch(query.search) && isOpenRange(query.range);
  if (isPlain && offset > DEEP) return { total, rows: await deepPage(db, limit, offset) };
  const lines = sql<LogRow>`select logs.* from logs where ${counted(query)}
    order by ${NEWEST} limit ${limit} offset ${offset}`;
  return { total, rows: (await lines.execute(db)).rows };
}

/** The lines of a query that asks for one exact value at most. */
function counted({ search, range }: LogQuery): RawBuilder<unknown> {
  const exact = search.exact.map(({ column, value }) => sql`${sql.ref(`logs.${column}`)} = ${value}`);
  return sql.join([sql`1 = 1`, ...exact, ...within(range)], sql` and `);
}

/** The newest of the lines with a higher id, the newest first. */
export function linesAfter(db: Db | Trx, id: number, limit: number): Promise<LogRow[]> {
  return db.selectFrom('logs').selectAll().where('id', '>', id).orderBy('id', 'desc').limit(limit).execute();
}

const DAY_MINUTES = 1440;

/** How many lines each day and each minute has says where a page begins: what comes before it is not walked over. */
export async function deepPage(db: Db, limit: number, offset: number): Promise<LogRow[]> {
  const day = sql<number>`minute / ${sql.lit(DAY_MINUTES)}`;
  const days = await db
    .selectFrom('log_minutes')
    .select((eb) => [day.as('begin'), eb.fn.sum<number>('lines').as('lines')])
    .groupBy(day)
    .orderBy('begin', 'desc')
    .execute();
  const inDay = containing(days, offset);
  if (inDay === undefined) return [];
  const minutes = await db
    .selectFrom('log_minutes')
    .select(['minute as begin', 'lines'])
    .where('minute', '>=', inDay.begin * DAY_MINUTES)
    .where('minute', '<', (inDay.begin + 1) * DAY_MINUTES)
    .orderBy('minute', 'desc')
    .execute();
  const inMinute = containing(minutes, inDay.left);
  if (inMinute === undefined) return [];
  return db
    .selectFrom('logs')
    .selectAll()
    .where('timestamp', '<', new Date((inMinute.begin + 1) * 60_000).toISOString())
    .orderBy('timestamp', 'desc')
    .orderBy('id', 'desc')
    .limit(limit)
    .offset(inMinute.left)
    .execute();
}

/** The stretch, of those that are given newest first, in which a line stands, and how many lines of it are newer. */
function containing(stretches: readonly { begin: number; lines: number | string }[], offset: number) {
  let left = offset;
  for (const { begin, lines } of stretches) {
    if (left < Number(lines)) return { begin, left };
    left -= Number(lines);
  }
  return undefined;
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
  if (only === undefined) {
    const found = await foundLines(db, engine, query, COUNT_LIMIT);
    return found.map(({ timestamp }) => ({ minute: minuteOf(timestamp), lines: 1 }));
  }
  const time = timeOfBucket(width);
  const buckets = sql<{ time: string; lines: number }>`select ${time} as time, count(*) as lines from
    (select logs.timestamp from logs where ${counted(query)} order by ${NEWEST} limit ${EXACT_LIMIT}) as found
    group by ${time}`;
  return (await buckets.execute(db)).rows.map((row) => ({ minute: minuteOf(`${row.time}:00Z`), lines: row.lines }));
}

/** The time at which a line's bucket begins, or a minute or an hour that is wholly within its bucket. */
function timeOfBucket(width: number): RawBuilder<string> {
  if (width % 60 === 0) return sql<string>`substr(timestamp, 1, 13) || ':00'`;
  if (60 % width !== 0) return sql<string>`substr(timestamp, 1, 16)`;
  const part = sql`cast(substr(timestamp, 15, 2) as integer) / ${sql.lit(width)} * ${sql.lit(width)}`;
  return sql<string>`substr(timestamp, 1, 14) || substr(cast(100 + ${part} as text), 2)`;
}
