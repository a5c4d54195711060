import { sql } from 'kysely';
import type { Db } from '../db/database.ts';
import { minuteOf, QUARTER, QUARTERLY } from './log-projection.ts';
import type { ExactColumn, TimeRange } from './search.ts';

/** How many lines have a value. */
export async function linesOf(db: Db, field: ExactColumn, value: string): Promise<number> {
  const row = await db
    .selectFrom('log_values')
    .select('lines')
    .where('field', '=', field)
    .where('value', '=', value)
    .executeTakeFirst();
  return row?.lines ?? 0;
}

/** How many lines there are in a range: whole minutes are counted already. */
export async function countRange(db: Db, range: TimeRange): Promise<number> {
  const minutes = await bucketsOf(db, range, 1);
  return minutes.reduce((sum, { lines }) => sum + lines, 0);
}

/** A stretch of time, in minutes since the epoch, and how many lines it has. */
export interface Bucket {
  readonly minute: number;
  readonly lines: number;
}

/** How many lines there are in each stretch of a range. */
export async function bucketsOf(db: Db, { start, end }: TimeRange, width: number): Promise<Bucket[]> {
  // The first and the last minute may be asked for in part.
  const first = start === undefined ? undefined : minuteOf(start);
  const last = end === undefined ? undefined : minuteOf(end);
  const minute = sql<number>`minute / ${sql.lit(width)} * ${sql.lit(width)}`;
  let whole = db.selectFrom('log_minutes');
  if (first !== undefined) whole = whole.where('minute', '>', first);
  if (last !== undefined) whole = whole.where('minute', '<', last);
  const buckets = await whole
    .select((eb) => [minute.as('minute'), sql<number>`cast(${eb.fn.sum('lines')} as bigint)`.as('lines')])
    .groupBy(minute)
    .execute();
  for (const cut of new Set([first, last])) {
    if (cut === undefined || (first !== undefined && cut < first) || (last !== undefined && cut > last)) continue;
    buckets.push({ minute: cut, lines: await linesWithin(db, cut, { start, end }) });
  }
  return buckets.filter(({ lines }) => lines > 0);
}

/** How many lines of a value each quarter of an hour has; `undefined` for a column of which that is not counted. */
export async function quartersOf(db: Db, field: ExactColumn, value: string): Promise<Bucket[] | undefined> {
  if (!QUARTERLY.some((counted) => counted === field)) return undefined;
  const rows = await db
    .selectFrom('log_quarters')
    .select(['quarter', 'lines'])
    .where('field', '=', field)
    .where('value', '=', value)
    .execute();
  return rows.map(({ quarter, lines }) => ({ minute: quarter * QUARTER, lines }));
}

/** Lines of one minute within a range. */
async function linesWithin(db: Db, minute: number, range: { start: string | undefined; end: string | undefined }) {
  const [from, to] = [new Date(minute * 60_000).toISOString(), new Date((minute + 1) * 60_000).toISOString()];
  let lines = db.selectFrom('logs').where('timestamp', '>=', from).where('timestamp', '<', to);
  if (range.start !== undefined) lines = lines.where('timestamp', '>=', range.start);
  if (range.end !== undefined) lines = lines.where('timestamp', '<=', range.end);
  const { total } = await lines.select((eb) => eb.fn.countAll<number>().as('total')).executeTakeFirstOrThrow();
  return total;
}
