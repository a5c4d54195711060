import { sql } from 'kysely';
import type { Engine, Trx } from '../db/database.ts';
import type { LogRow } from '../db/schema.ts';
import type { LoggedEvent, Projection } from '../projection/projection.ts';
import { epochOrdinal } from './epoch-ordinals.ts';
import { LOG_LINE_CHANNEL, LOG_LINE_TOPIC, lineId, logRowOf } from './log-line.ts';

/** Columns whose values are counted, and are exact filters of a search. */
export const COUNTED_FIELDS = ['decky', 'service', 'event_type', 'attacker_ip'] as const;

/** Names in `counters`. */
export const LINES = 'log_lines';
export const ATTACKERS = 'log_attackers';

/** Rows of one statement: SQLite takes 32,766 parameters, and a statement should be short. */
const CHUNK = 50;

/** The lines of the deckies' logs with all that is counted of them, so that nobody has to count rows. */
export function logProjection(engine: Engine): Projection {
  return {
    name: 'logs',
    version: 1,
    topics: [LOG_LINE_TOPIC],
    channels: [LOG_LINE_CHANNEL],
    async apply(trx, events) {
      const rows = await rowsOf(trx, events);
      for (let first = 0; first < rows.length; first += CHUNK) {
        const chunk = rows.slice(first, first + CHUNK);
        await trx.insertInto('logs').values(chunk).execute();
        if (engine === 'sqlite') await addToSearch(trx, chunk);
      }
      if (rows.length > 0) await count(trx, rows);
      return events.length - rows.length;
    },
    async clear(trx) {
      await trx.deleteFrom('logs').execute();
      await trx.deleteFrom('log_values').execute();
      await trx.deleteFrom('log_minutes').execute();
      await trx.deleteFrom('counters').where('name', 'in', [LINES, ATTACKERS]).execute();
      if (engine === 'sqlite') await sql`insert into log_search (log_search) values ('delete-all')`.execute(trx);
    },
  };
}

async function rowsOf(trx: Trx, events: readonly LoggedEvent[]): Promise<LogRow[]> {
  const ordinals = new Map<string, number>();
  const rows: LogRow[] = [];
  for (const event of events) {
    const offset = event.offsetIn(LOG_LINE_CHANNEL);
    if (offset === undefined) continue;
    const ordinal = ordinals.get(event.epoch) ?? (await epochOrdinal(trx, event.epoch));
    ordinals.set(event.epoch, ordinal);
    const row = logRowOf(event, lineId(ordinal, offset));
    if (row !== undefined) rows.push(row);
  }
  return rows;
}

/** The texts in which a search looks for a part; the index of PostgreSQL (migration 013) has the same expression. */
export function searchText(row: Pick<LogRow, 'raw_line' | 'decky' | 'service' | 'attacker_ip' | 'fields'>): string {
  return [row.raw_line, row.decky, row.service, row.attacker_ip, row.fields].join('\n');
}

async function addToSearch(trx: Trx, rows: readonly LogRow[]): Promise<void> {
  const values = rows.map((row) => sql`(${row.id}, ${searchText(row)})`);
  await sql`insert into log_search (rowid, text) values ${sql.join(values)}`.execute(trx);
}

async function count(trx: Trx, rows: readonly LogRow[]): Promise<void> {
  const values = new Map<string, { field: string; value: string; lines: number }>();
  const minutes = new Map<string, number>();
  for (const row of rows) {
    for (const field of COUNTED_FIELDS) {
      const key = `${field} ${row[field]}`;
      const counted = values.get(key) ?? { field, value: row[field], lines: 0 };
      counted.lines += 1;
      values.set(key, counted);
    }
    const minute = row.timestamp.slice(0, 16);
    minutes.set(minute, (minutes.get(minute) ?? 0) + 1);
  }
  const attackers = await addValues(trx, [...values.values()]);
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

/** @returns how many addresses were not there before */
async function addValues(
  trx: Trx,
  values: readonly { field: string; value: string; lines: number }[],
): Promise<number> {
  const added = new Map(values.map(({ field, value, lines }) => [`${field} ${value}`, lines]));
  let addresses = 0;
  for (let first = 0; first < values.length; first += CHUNK * 4) {
    const rows = await trx
      .insertInto('log_values')
      .values(values.slice(first, first + CHUNK * 4))
      .onConflict((conflict) =>
        conflict.columns(['field', 'value']).doUpdateSet({ lines: sql<number>`log_values.lines + excluded.lines` }),
      )
      .returning(['field', 'value', 'lines'])
      .execute();
    // Exactly as many as were added: there were none before.
    for (const { field, value, lines } of rows) {
      if (field === 'attacker_ip' && lines === added.get(`${field} ${value}`)) addresses += 1;
    }
  }
  return addresses;
}
