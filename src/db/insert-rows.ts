import { type RawBuilder, sql } from 'kysely';
import type { Engine, Trx } from './database.ts';

/** Columns and their types in PostgreSQL. */
export type ColumnTypes = Readonly<Record<string, 'text' | 'integer' | 'bigint' | 'double precision'>>;

/**
 * Inserts many rows by one statement with one parameter. It is the same statement for any number of rows, so it is put
 * together and prepared once, which is most of what a long list of values costs.
 * @param rows JSON; text without NUL and halves of characters
 * @param behind the end of the statement: `on conflict …`, `returning …`
 */
export async function insertRows<Returned = unknown>(
  trx: Trx,
  engine: Engine,
  { table, columns }: { readonly table: string; readonly columns: ColumnTypes },
  rows: readonly object[],
  behind: RawBuilder<unknown> = sql``,
): Promise<Returned[]> {
  if (rows.length === 0) return [];
  const names = Object.keys(columns);
  const into = sql`insert into ${sql.table(table)} (${sql.join(names.map((name) => sql.ref(name)))})`;
  // "where true" in the selection keeps SQLite from taking "on conflict" for the condition of a join.
  return (await sql<Returned>`${into} ${rowsOf(engine, columns, rows)} ${behind}`.execute(trx)).rows;
}

/** Many rows as a selection with one parameter. */
export function rowsOf(engine: Engine, columns: ColumnTypes, rows: readonly object[]): RawBuilder<unknown> {
  const json = JSON.stringify(rows);
  return engine === 'postgres'
    ? sql`select * from jsonb_to_recordset(${json}::jsonb) as row (${typesOf(columns)})`
    : sql`select ${members(Object.keys(columns))} from json_each(${json}) where true`;
}

function typesOf(columns: ColumnTypes): RawBuilder<unknown> {
  return sql.join(Object.entries(columns).map(([name, type]) => sql`${sql.ref(name)} ${sql.raw(type)}`));
}

function members(names: readonly string[]): RawBuilder<unknown> {
  return sql.join(names.map((name) => sql`json_each.value ->> ${sql.lit(name)} as ${sql.ref(name)}`));
}
