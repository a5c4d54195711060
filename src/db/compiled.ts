import type { Compilable, CompiledQuery } from 'kysely';
import type { Db } from './database.ts';

/**
 * A query that is built and compiled once and asked often: building one anew costs more than SQLite takes to answer it.
 * @param query with any value in the place of each parameter
 * @returns asks it with these parameters, in the order of their places in the query
 */
export function compiled<Row>(db: Db, query: Compilable<Row>): (...parameters: readonly unknown[]) => Promise<Row[]> {
  const ready = query.compile();
  return async (...parameters) => {
    const filled: CompiledQuery<Row> = { ...ready, parameters };
    return (await db.executeQuery(filled)).rows;
  };
}
