import { sql } from 'kysely';
import type { Engine, Trx } from '../db/database.ts';
import { insertRows } from '../db/insert-rows.ts';
import { type RowsToRemove, removeSome } from '../db/remove-some.ts';
import type { LogRow } from '../db/schema.ts';
import { addToCounters } from '../projection/counters.ts';
import type { Projection } from '../projection/projection.ts';
import { LOG_LINE_CHANNEL, LOG_LINE_TOPIC } from './log-line.ts';
import { deleteLines, insertLines, renumberLines, rowsOfLines } from './log-rows.ts';

/** Columns whose values are counted, and are exact filters of a search. */
export const COUNTED_FIELDS = ['decky', 'service', 'event_type', 'attacker_ip'] as const;

const LOG_VALUES = { table: 'log_values', columns: { field: 'text', value: 'text', lines: 'bigint' } } as const;

const LOG_QUARTERS = {
  table: 'log_quarters',
  columns: { field: 'text', value: 'text', quarter: 'integer', lines: 'bigint' },
} as const;

const LOG_MINUTES = { table: 'log_minutes', columns: { minute: 'integer', lines: 'bigint' } } as const;

/** Minutes of a histogram's usual stretch. */
export const QUARTER = 15;
/** Columns with few values: of these is counted how many lines each quarter of an hour has. */
export const QUARTERLY = ['decky', 'service', 'event_type'] as const;

/** Names in `counters`. */
export const LINES = 'log_lines';
export const ATTACKERS = 'log_attackers';

/** The lines of the deckies' logs with all that is counted of them, so that nobody has to count rows. */
export function logProjection(engine: Engine): Projection {
  return {
    name: 'logs',
    version: 1,
    topics: [LOG_LINE_TOPIC],
    channels: [LOG_LINE_CHANNEL],
    isPurged: true,
    kept: [
      {
        kind: 'lines',
        table: 'logs',
        order: ['timestamp', 'id'],
        counter: LINES,
        remove: (trx, ids) => removeLines(trx, engine, ids.map(Number)),
      },
    ],
    async apply(trx, events) {
      const rows = await rowsOfLines(trx, events);
      await insertLines(trx, engine, rows);
      if (rows.length > 0) await count(trx, engine, rows, 1);
      return events.length - rows.length;
    },
    again: async (trx, events) => renumberLines(trx, engine, await rowsOfLines(trx, events)),
    async clear(trx, most) {
      await trx.deleteFrom('counters').where('name', 'in', [LINES, ATTACKERS]).execute();
      // The index would be emptied by one statement, which takes as long as the index is large.
      if (engine === 'sqlite' && (await forgetLines(trx, most))) return true;
      return removeSome(trx, OWNED, most);
    },
  };
}

const OWNED: readonly RowsToRemove[] = [
  { table: 'logs', key: ['id'] },
  { table: 'log_values', key: ['field', 'value'] },
  { table: 'log_minutes', key: ['minute'] },
  { table: 'log_quarters', key: ['field', 'value', 'quarter'] },
];

/** @param time ISO, UTC */
export function minuteOf(time: string): number {
  return Math.floor(Date.parse(time) / 60_000);
}

async function removeLines(trx: Trx, engine: Engine, ids: readonly number[]): Promise<void> {
  await count(trx, engine, await deleteLines(trx, engine, ids), -1);
}

/** Removes lines without counting. @returns whether there may be more */
async function forgetLines(trx: Trx, most: number): Promise<boolean> {
  const oldest = await trx.selectFrom('logs').select('id').orderBy('id').limit(most).execute();
  await deleteLines(
    trx,
    'sqlite',
    oldest.map(({ id }) => id),
  );
  return oldest.length === most;
}

/** @param each 1 for lines that came, -1 for lines that went */
async function count(trx: Trx, engine: Engine, rows: readonly LogRow[], each: 1 | -1): Promise<void> {
  const values = new Tally();
  const quarters = new Tally();
  const minutes = new Tally();
  for (const row of rows) {
    const minute = minuteOf(row.timestamp);
    minutes.add(each, { minute });
    for (const field of COUNTED_FIELDS) values.add(each, { field, value: row[field] });
    for (const field of QUARTERLY)
      quarters.add(each, { field, value: row[field], quarter: Math.floor(minute / QUARTER) });
  }
  await addTo(trx, engine, LOG_QUARTERS, quarters);
  await addTo(trx, engine, LOG_MINUTES, minutes);
  const counted = await addTo(trx, engine, LOG_VALUES, values);
  const attackers = counted.filter(({ field, isTurn }) => field === 'attacker_ip' && isTurn).length;
  await addToCounters(trx, { [LINES]: each * rows.length, [ATTACKERS]: each * attackers });
}

/** Counts by key. */
class Tally {
  readonly #counted = new Map<string, { lines: number }>();

  get rows(): readonly { lines: number }[] {
    return [...this.#counted.values()];
  }

  add(lines: number, key: Readonly<Record<string, string | number>>): void {
    const name = Tally.nameOf(key);
    const known = this.#counted.get(name);
    if (known === undefined) this.#counted.set(name, { ...key, lines });
    else known.lines += lines;
  }

  /** What was added under a key. */
  of(key: Readonly<Record<string, string | number>>): number {
    return this.#counted.get(Tally.nameOf(key))?.lines ?? 0;
  }

  static nameOf(key: Readonly<Record<string, string | number>>): string {
    return Object.values(key).join('\0');
  }
}

/**
 * Adds what was counted. A row that says nothing goes.
 * @returns each key that it was about, and whether there was none before, or is none now
 */
async function addTo(
  trx: Trx,
  engine: Engine,
  into: typeof LOG_VALUES | typeof LOG_QUARTERS | typeof LOG_MINUTES,
  tally: Tally,
): Promise<({ isTurn: boolean } & Record<string, unknown>)[]> {
  const keys = Object.keys(into.columns).filter((name) => name !== 'lines');
  const names = sql.join(keys.map((name) => sql.ref(name)));
  const sum = sql`${sql.ref(`${into.table}.lines`)} + excluded.lines`;
  const rows = await insertRows<Record<string, string | number>>(
    trx,
    engine,
    into,
    tally.rows,
    sql`on conflict (${names}) do update set lines = ${sum} returning ${names}, lines`,
  );
  const gone: Record<string, string | number>[] = [];
  const told = rows.map(({ lines, ...row }) => {
    const key = Object.fromEntries(keys.map((name) => [name, row[name] ?? '']));
    const isGone = Number(lines) === 0;
    if (isGone) gone.push(key);
    // Exactly as many as were added: there were none before.
    return { ...key, isTurn: isGone || Number(lines) === tally.of(key) };
  });
  for (const key of gone) {
    const isIt = Object.entries(key).map(([name, value]) => sql`${sql.ref(name)} = ${value}`);
    await sql`delete from ${sql.table(into.table)} where ${sql.join(isIt, sql` and `)}`.execute(trx);
  }
  return told;
}
