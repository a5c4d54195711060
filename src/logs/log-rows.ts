import { sql } from 'kysely';
import type { Engine, Trx } from '../db/database.ts';
import { insertRows } from '../db/insert-rows.ts';
import type { LogRow } from '../db/schema.ts';
import type { LoggedEvent } from '../projection/projection.ts';
import { epochOrdinal } from './epoch-ordinals.ts';
import { LOG_LINE_CHANNEL, lineId, logRowOf, lostLineIds } from './log-line.ts';

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

const CONTENT = Object.keys(LOGS.columns).filter((name) => name !== 'id') as (keyof LogRow)[];

/** The rows of the events that tell of a line, with the ids that their places in the log give them. */
export async function rowsOfLines(trx: Trx, events: readonly LoggedEvent[]): Promise<LogRow[]> {
  const ordinals = new Map<string, number>();
  const rows: LogRow[] = [];
  for (const event of events) {
    const { epoch } = event;
    const offset = event.offsetIn(LOG_LINE_CHANNEL);
    const row = logRowOf(event, 0);
    if (row === undefined || offset === undefined) continue;
    const ordinal = ordinals.get(epoch) ?? (await epochOrdinal(trx, epoch));
    ordinals.set(epoch, ordinal);
    rows.push({ ...row, id: lineId(ordinal, offset) });
  }
  return rows;
}

/**
 * Inserts lines that were not there. An id is that of the line which has the place now: offsets are handed out twice when Redis
 * comes back older in the same epoch, and who streams knows of nothing else than the place.
 */
export async function insertLines(trx: Trx, engine: Engine, rows: readonly LogRow[]): Promise<void> {
  for (let left = rows; left.length > 0; ) {
    // Of those with one id the last one keeps it.
    const unique = new Map(left.toReversed().map((row) => [row.id, row]));
    const free = await insertUnlessTaken(trx, engine, [...unique.values()].reverse());
    left = left.filter((row) => !free.has(row));
    await vacate(trx, engine, left);
  }
}

/**
 * Gives rows that are there the ids of the places where their lines stand now: a line that was lost with a part of the log may
 * have been published again.
 */
export async function renumberLines(trx: Trx, engine: Engine, rows: readonly LogRow[]): Promise<void> {
  const holders = await linesWith(trx, rows);
  const isRight = (row: LogRow) => isSameLine(holders.get(row.id), row);
  const right = new Set(rows.filter(isRight).map(({ id }) => id));
  const wrong = rows.filter((row) => !isRight(row));
  // All at once: one may have the place of another that has its place.
  await vacate(trx, engine, wrong);
  for (const row of wrong) {
    const same = await trx
      .selectFrom('logs')
      .selectAll()
      .where('timestamp', '=', row.timestamp)
      .where('raw_line', '=', row.raw_line)
      .where('fields', '=', row.fields)
      .execute();
    const found = same.find((other) => !right.has(other.id) && isSameLine(other, row));
    // Absent: it went with its age.
    if (found !== undefined) await renumber(trx, engine, found, row.id);
  }
}

/** @returns what was there */
export async function deleteLines(trx: Trx, engine: Engine, ids: readonly number[]): Promise<LogRow[]> {
  const rows = await trx.deleteFrom('logs').where('id', 'in', ids).returningAll().execute();
  if (engine === 'sqlite') await unindex(trx, rows);
  return rows;
}

/** The texts in which a search looks for a part; the index of PostgreSQL (migration 013) has the same expression. */
export function searchText(row: Pick<LogRow, 'raw_line' | 'decky' | 'service' | 'attacker_ip' | 'fields'>): string {
  return [row.raw_line, row.decky, row.service, row.attacker_ip, row.fields].join('\n');
}

/** @returns those whose id was free */
async function insertUnlessTaken(trx: Trx, engine: Engine, rows: readonly LogRow[]): Promise<Set<LogRow>> {
  const unlessTaken = sql`on conflict (id) do nothing returning id`;
  const added = await insertRows<{ id: number | string }>(trx, engine, LOGS, rows, unlessTaken);
  const ids = new Set(added.map(({ id }) => Number(id)));
  const free = rows.filter(({ id }) => ids.has(id));
  if (engine === 'sqlite') await index(trx, free);
  return new Set(free);
}

/** Takes their ids from lines that the log has lost. */
async function vacate(trx: Trx, engine: Engine, wanted: readonly LogRow[]): Promise<void> {
  for (const row of (await linesWith(trx, wanted)).values()) {
    const ids = lostLineIds(row.id);
    const taken = await trx.selectFrom('logs').select('id').where('id', 'in', ids).execute();
    const free = ids.find((id) => taken.every((other) => other.id !== id));
    if (free === undefined) throw new Error('the same place of the log was handed out too often');
    await renumber(trx, engine, row, free);
  }
}

async function renumber(trx: Trx, engine: Engine, row: LogRow, id: number): Promise<void> {
  await trx.updateTable('logs').set({ id }).where('id', '=', row.id).execute();
  if (engine === 'postgres') return;
  await unindex(trx, [row]);
  await index(trx, [{ ...row, id }]);
}

async function linesWith(trx: Trx, wanted: readonly LogRow[]): Promise<Map<number, LogRow>> {
  if (wanted.length === 0) return new Map();
  const ids = wanted.map(({ id }) => id);
  const rows = await trx.selectFrom('logs').selectAll().where('id', 'in', ids).execute();
  return new Map(rows.map((row) => [row.id, row]));
}

function isSameLine(one: LogRow | undefined, other: LogRow): boolean {
  return one !== undefined && CONTENT.every((name) => one[name] === other[name]);
}

async function index(trx: Trx, rows: readonly LogRow[]): Promise<void> {
  if (rows.length === 0) return;
  const texts = textsOf(rows);
  await sql`insert into log_search (rowid, text) select value ->> 0, value ->> 1 from json_each(${texts})`.execute(trx);
}

/** The index holds no texts: it has to be told what it is to forget. */
async function unindex(trx: Trx, rows: readonly LogRow[]): Promise<void> {
  const texts = textsOf(rows);
  await sql`insert into log_search (log_search, rowid, text)
    select 'delete', value ->> 0, value ->> 1 from json_each(${texts})`.execute(trx);
}

function textsOf(rows: readonly LogRow[]): string {
  return JSON.stringify(rows.map((row) => [row.id, searchText(row)]));
}
