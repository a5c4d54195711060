import { sql } from 'kysely';
import type { Engine, Trx } from '../db/database.ts';
import { insertRows } from '../db/insert-rows.ts';
import { type RowsToRemove, removeSome } from '../db/remove-some.ts';
import type { LogRow } from '../db/schema.ts';
import { addToCounters } from '../projection/counters.ts';
import type { LoggedEvent, Projection } from '../projection/projection.ts';
import { epochOrdinal } from './epoch-ordinals.ts';
import { LOG_LINE_CHANNEL, LOG_LINE_TOPIC, lineId, logRowOf } from './log-line.ts';

/** Columns whose values are counted, and are exact filters of a search. */
export const COUNTED_FIELDS = ['decky', 'service', 'event_type', 'attacker_ip'] as const;

const LOGS = {
  table: 'logs',
  columns: {
    id: 'bigint',
    timestamp: 'text',
    decky: 'text',
    service: 'text',
    event_type: 'text',
    attacker_ip: 'text',
    raw_line: 'text',
    fields: 'text',
    msg: 'text',
    trace_id: 'text',
    span_id: 'text',
  },
} as const;

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
    kept: [
      {
        kind: 'lines',
        table: LOGS.table,
        order: ['timestamp', 'id'],
        counter: LINES,
        remove: (trx, ids) => removeLines(trx, engine, ids.map(Number)),
      },
    ],
    async apply(trx, events) {
      const rows = await insertLines(trx, engine, linesOf(events));
      if (rows.length > 0) await count(trx, engine, rows, 1);
      return events.length - rows.length;
    },
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

interface Line {
  readonly row: LogRow;
  readonly epoch: string;
  readonly offset: number;
}

/** Not numbered yet. */
function linesOf(events: readonly LoggedEvent[]): Line[] {
  return events.flatMap((event) => {
    const { epoch } = event;
    const offset = event.offsetIn(LOG_LINE_CHANNEL);
    const row = logRowOf(event, 0);
    return row === undefined || offset === undefined ? [] : [{ row, epoch, offset }];
  });
}

/** So often the same offset of an epoch may have been handed out. */
const MOST_LIVES = 100;

/**
 * Offsets are handed out twice when Redis comes back older in the same epoch. What was counted before keeps its row and its id;
 * the line that has the number now gets its id as if it were of an epoch of its own.
 */
async function insertLines(trx: Trx, engine: Engine, lines: readonly Line[]): Promise<LogRow[]> {
  const inserted: LogRow[] = [];
  let left = lines;
  for (let life = 1; left.length > 0; life += 1) {
    if (life > MOST_LIVES) throw new Error('the same place of the log was handed out too often');
    const numbered = await numberedIn(trx, left, life);
    const free = await insertUnlessTaken(trx, engine, [...numbered.values()]);
    inserted.push(...free);
    const done = new Set(free);
    left = left.filter((line) => {
      const row = numbered.get(line);
      return row === undefined || !done.has(row);
    });
  }
  return inserted;
}

/** Each id once: who comes second waits for the next life. */
async function numberedIn(trx: Trx, lines: readonly Line[], life: number): Promise<Map<Line, LogRow>> {
  const ordinals = new Map<string, number>();
  const ids = new Set<number>();
  const numbered = new Map<Line, LogRow>();
  for (const line of lines) {
    const epoch = life === 1 ? line.epoch : `${line.epoch}.${life}`;
    const ordinal = ordinals.get(epoch) ?? (await epochOrdinal(trx, epoch));
    ordinals.set(epoch, ordinal);
    const id = lineId(ordinal, line.offset);
    if (ids.has(id)) continue;
    ids.add(id);
    numbered.set(line, { ...line.row, id });
  }
  return numbered;
}

/** The texts in which a search looks for a part; the index of PostgreSQL (migration 013) has the same expression. */
export function searchText(row: Pick<LogRow, 'raw_line' | 'decky' | 'service' | 'attacker_ip' | 'fields'>): string {
  return [row.raw_line, row.decky, row.service, row.attacker_ip, row.fields].join('\n');
}

/** @returns those whose id was free */
async function insertUnlessTaken(trx: Trx, engine: Engine, rows: readonly LogRow[]): Promise<LogRow[]> {
  const unlessTaken = sql`on conflict (id) do nothing returning id`;
  const added = await insertRows<{ id: number | string }>(trx, engine, LOGS, rows, unlessTaken);
  const ids = new Set(added.map(({ id }) => Number(id)));
  const free = rows.filter(({ id }) => ids.has(id));
  if (engine === 'postgres' || free.length === 0) return free;
  const texts = textsOf(free);
  await sql`insert into log_search (rowid, text) select value ->> 0, value ->> 1 from json_each(${texts})`.execute(trx);
  return free;
}

async function removeLines(trx: Trx, engine: Engine, ids: readonly number[]): Promise<void> {
  const rows = await trx.deleteFrom('logs').where('id', 'in', ids).returningAll().execute();
  if (engine === 'sqlite') await forgetTexts(trx, rows);
  await count(trx, engine, rows, -1);
}

/** Removes lines without counting. @returns whether there may be more */
async function forgetLines(trx: Trx, most: number): Promise<boolean> {
  const rows = await trx
    .deleteFrom('logs')
    .where('id', 'in', (eb) => eb.selectFrom('logs').select('id').orderBy('id').limit(most))
    .returningAll()
    .execute();
  await forgetTexts(trx, rows);
  return rows.length === most;
}

/** SQLite's index holds no texts: it has to be told what it is to forget. */
async function forgetTexts(trx: Trx, rows: readonly LogRow[]): Promise<void> {
  const texts = textsOf(rows);
  await sql`insert into log_search (log_search, rowid, text)
    select 'delete', value ->> 0, value ->> 1 from json_each(${texts})`.execute(trx);
}

function textsOf(rows: readonly LogRow[]): string {
  return JSON.stringify(rows.map((row) => [row.id, searchText(row)]));
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
