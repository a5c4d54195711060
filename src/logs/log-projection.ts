import { sql } from 'kysely';
import type { Engine, Trx } from '../db/database.ts';
import { insertRows } from '../db/insert-rows.ts';
import type { LogRow } from '../db/schema.ts';
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
    async apply(trx, events) {
      const rows = await insertLines(trx, engine, linesOf(events));
      if (rows.length > 0) await count(trx, engine, rows);
      return events.length - rows.length;
    },
    async clear(trx) {
      await trx.deleteFrom('logs').execute();
      await trx.deleteFrom('log_values').execute();
      await trx.deleteFrom('log_minutes').execute();
      await trx.deleteFrom('log_quarters').execute();
      await trx.deleteFrom('counters').where('name', 'in', [LINES, ATTACKERS]).execute();
      if (engine === 'sqlite') await sql`insert into log_search (log_search) values ('delete-all')`.execute(trx);
    },
  };
}

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
  const texts = JSON.stringify(free.map((row) => [row.id, searchText(row)]));
  await sql`insert into log_search (rowid, text) select value ->> 0, value ->> 1 from json_each(${texts})`.execute(trx);
  return free;
}

async function count(trx: Trx, engine: Engine, rows: readonly LogRow[]): Promise<void> {
  const values = new Map<string, { field: string; value: string; lines: number }>();
  const minutes = new Map<number, number>();
  for (const row of rows) {
    for (const field of COUNTED_FIELDS) {
      const key = `${field} ${row[field]}`;
      const counted = values.get(key) ?? { field, value: row[field], lines: 0 };
      counted.lines += 1;
      values.set(key, counted);
    }
    const minute = minuteOf(row.timestamp);
    minutes.set(minute, (minutes.get(minute) ?? 0) + 1);
  }
  await addQuarters(trx, engine, rows);
  const attackers = await addValues(trx, engine, [...values.values()]);
  await trx
    .insertInto('log_minutes')
    .values([...minutes].map(([minute, lines]) => ({ minute, lines })))
    .onConflict((conflict) =>
      conflict.column('minute').doUpdateSet({ lines: sql<number>`log_minutes.lines + excluded.lines` }),
    )
    .execute();
  await trx
    .insertInto('counters')
    .values([
      { name: LINES, value: rows.length },
      { name: ATTACKERS, value: attackers },
    ])
    .onConflict((conflict) =>
      conflict.column('name').doUpdateSet({ value: sql<number>`counters.value + excluded.value` }),
    )
    .execute();
}

async function addQuarters(trx: Trx, engine: Engine, rows: readonly LogRow[]): Promise<void> {
  const quarters = new Map<string, { field: string; value: string; quarter: number; lines: number }>();
  for (const row of rows) {
    const quarter = Math.floor(minuteOf(row.timestamp) / QUARTER);
    for (const field of QUARTERLY) {
      const key = `${field} ${quarter} ${row[field]}`;
      const counted = quarters.get(key) ?? { field, value: row[field], quarter, lines: 0 };
      counted.lines += 1;
      quarters.set(key, counted);
    }
  }
  const add = sql`on conflict (field, value, quarter) do update set lines = log_quarters.lines + excluded.lines`;
  await insertRows(trx, engine, LOG_QUARTERS, [...quarters.values()], add);
}

/** @returns how many addresses were not there before */
async function addValues(
  trx: Trx,
  engine: Engine,
  values: readonly { field: string; value: string; lines: number }[],
): Promise<number> {
  const added = new Map(values.map(({ field, value, lines }) => [`${field} ${value}`, lines]));
  let addresses = 0;
  const rows = await insertRows<{ field: string; value: string; lines: number }>(
    trx,
    engine,
    LOG_VALUES,
    values,
    sql`on conflict (field, value) do update set lines = log_values.lines + excluded.lines returning field, value, lines`,
  );
  // Exactly as many as were added: there were none before.
  for (const { field, value, lines } of rows) {
    if (field === 'attacker_ip' && Number(lines) === added.get(`${field} ${value}`)) addresses += 1;
  }
  return addresses;
}
