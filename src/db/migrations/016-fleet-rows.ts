import type { Migration } from 'kysely/migration';

/** What a fleet decky looks like to a dashboard (contract P2.1), and how its services are configured. */
export const fleetRows: Migration = {
  async up(db) {
    const columns = [
      ['ip', ''],
      ['hostname', ''],
      ['distro', 'debian'],
      ['base_image', ''],
      ['build_base', ''],
      ['nmap_os', 'linux'],
      ['service_config', '{}'],
    ] as const;
    // SQLite adds one column at a time.
    for (const [name, value] of columns) {
      await db.schema
        .alterTable('fleet_deckies')
        .addColumn(name, 'text', (column) => column.notNull().defaultTo(value))
        .execute();
    }
  },
};
