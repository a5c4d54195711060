import type { Db } from '../db/database.ts';
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
  const minutes = await minutesOf(db, range);
  return minutes.reduce((sum, { lines }) => sum + lines, 0);
}

/** How many lines each minute has within a range, in order; those that have none are left out. */
export async function minutesOf(db: Db, { start, end }: TimeRange): Promise<{ minute: string; lines: number }[]> {
  let select = db.selectFrom('log_minutes').selectAll().orderBy('minute');
  if (start !== undefined) select = select.where('minute', '>=', start.slice(0, 16));
  if (end !== undefined) select = select.where('minute', '<=', end.slice(0, 16));
  const minutes = await select.execute();
  const cut = new Set([start?.slice(0, 16), end?.slice(0, 16)]);
  for (const counted of minutes.filter(({ minute }) => cut.has(minute))) {
    // Of the minutes at the ends only a part is asked for. A tilde comes after all that follows a minute in a time.
    const { total } = await db
      .selectFrom('logs')
      .where('timestamp', '>=', start !== undefined && start > counted.minute ? start : counted.minute)
      .where('timestamp', '<=', end !== undefined && end < `${counted.minute}~` ? end : `${counted.minute}~`)
      .select((eb) => eb.fn.countAll<number>().as('total'))
      .executeTakeFirstOrThrow();
    counted.lines = total;
  }
  return minutes.filter(({ lines }) => lines > 0);
}
