import type { Migration } from 'kysely/migration';
import type { Engine } from '../database.ts';

/** What the database knows of the event log: one row for each epoch, the newest event known to be published. */
export const logWitness = (engine: Engine): Migration => ({
  async up(db) {
    const sequence = engine === 'sqlite' ? 'integer' : 'bigserial';
    await db.schema
      .createTable('log_witness')
      .addColumn('seq', sequence, (column) =>
        engine === 'sqlite' ? column.primaryKey().autoIncrement() : column.primaryKey(),
      )
      .addColumn('epoch', 'text', (column) => column.notNull().unique())
      .addColumn('log_offset', 'bigint', (column) => column.notNull())
      .addColumn('proof', 'text', (column) => column.notNull())
      .execute();
  },
});
