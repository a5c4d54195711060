import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { CompiledQuery, type KyselyPlugin, type RootOperationNode, sql } from 'kysely';
import { attackerDetail, attributionFor, intelOf, smtpTargets } from '../../src/attackers/attacker-detail.ts';
import { type AttackerQuery, listAttackers } from '../../src/attackers/attacker-list.ts';
import { keptLines, triedCommands } from '../../src/attackers/attacker-traces.ts';
import { canonicalCampaign, listCampaigns, listMembers } from '../../src/campaigns/repository.ts';
import type { Db, Engine } from '../../src/db/database.ts';
import { listIdentities, listObservations } from '../../src/identity/repository.ts';
import { countFailures, listActions } from '../../src/orchestrator/repository.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';

const UUID = 'a1';
const page = { limit: 50, offset: 0 };
const of = (query: Partial<AttackerQuery>): AttackerQuery => ({
  ...page,
  sortBy: 'recent',
  search: undefined,
  service: undefined,
  ...query,
});

/** What the pages read. */
const READS: Readonly<Record<string, (db: Db, engine: Engine) => Promise<unknown>>> = {
  'attackers, last seen': (db, engine) => listAttackers(db, engine, of({})),
  'attackers, most active': (db, engine) => listAttackers(db, engine, of({ sortBy: 'active' })),
  'attackers, travelling': (db, engine) => listAttackers(db, engine, of({ sortBy: 'traversals' })),
  'attackers of a service': (db, engine) => listAttackers(db, engine, of({ service: 'ssh' })),
  'attackers with a part of an address': (db, engine) => listAttackers(db, engine, of({ search: '192.0.2' })),
  'attackers with a short part of an address': (db, engine) => listAttackers(db, engine, of({ search: '1' })),
  'an attacker': (db) => attackerDetail(db, UUID),
  attribution: (db) => attributionFor(db, UUID),
  intelligence: (db) => intelOf(db, UUID),
  'targets of mail': (db) => smtpTargets(db, UUID),
  commands: (db) => triedCommands(db, UUID, { ...page, service: undefined }),
  'commands of a service': (db) => triedCommands(db, UUID, { ...page, service: 'ssh' }),
  artifacts: (db) => keptLines(db, UUID, 'artifacts'),
  campaigns: (db) => listCampaigns(db, page),
  'a campaign': (db) => canonicalCampaign(db, 'c1'),
  'members of a campaign': (db) => listMembers(db, 'c1', page),
  identities: (db) => listIdentities(db, page),
  'observations of an identity': (db) => listObservations(db, 'i1', page),
  'what the orchestrator did': (db) => listActions(db, undefined, page),
  'what it did of a kind': (db) => listActions(db, 'file', page),
  'its mail': (db) => listActions(db, 'email', page),
  'what failed': (db) => countFailures(db, undefined, '2026-11-21'),
  'what failed of a kind': (db) => countFailures(db, 'file', '2026-11-21'),
};

/** Keeps the queries that pass. */
class Witness implements KyselyPlugin {
  readonly nodes: RootOperationNode[] = [];
  transformQuery({ node }: { node: RootOperationNode }): RootOperationNode {
    this.nodes.push(node);
    return node;
  }
  transformResult<Result>({ result }: { result: Result }): Promise<Result> {
    return Promise.resolve(result);
  }
}

/** The steps of a query's plan that walk over a table row by row, without an index. */
async function scansOf(db: Db, engine: Engine, { sql: text, parameters }: CompiledQuery): Promise<string[]> {
  const explain = engine === 'sqlite' ? 'explain query plan' : 'explain';
  const { rows } = await db.executeQuery<Record<string, unknown>>(
    CompiledQuery.raw(`${explain} ${text}`, [...parameters]),
  );
  const steps = rows.map((row) => String(row.detail ?? row['QUERY PLAN']).trim());
  if (engine === 'postgres') return steps.filter((step) => /\bSeq Scan on /.test(step));
  // What a subquery found is walked over, and what the index of texts finds.
  const derived = steps.flatMap((step) => /^(?:CO-ROUTINE|MATERIALIZE) (\S+)/.exec(step)?.[1] ?? []);
  return steps.filter((step) => {
    const [, table = ''] = /^SCAN (\S+)$/.exec(step) ?? [];
    return table !== '' && !derived.includes(table);
  });
}

for (const engine of ENGINES) {
  describe(`what pages read is found by indexes (${engine})`, () => {
    let database: TestDatabase;
    beforeAll(async () => {
      database = await createTestDatabase(engine);
      const at = '2026-11-21T08:00:00.000Z';
      const row = { uuid: UUID, ip: '192.0.2.1', identity_id: 'i1', first_seen: at, last_seen: at, updated_at: at };
      await database.db
        .insertInto('attackers')
        .values({ ...row })
        .execute();
      await database.db.insertInto('attacker_uuids').values({ uuid: UUID, ip: row.ip, identity_uuid: null }).execute();
      await database.db
        .insertInto('attacker_intel')
        .values({ attacker_uuid: UUID, intel: '{}', updated_at: at })
        .execute();
    });
    afterAll(() => database.dispose());

    test.each(Object.entries(READS))('%s', async (_name, read) => {
      const scans = await database.db.connection().execute(async (db) => {
        // With a handful of rows PostgreSQL takes an index only where it must not scan.
        if (engine === 'postgres') await sql`set enable_seqscan = off`.execute(db);
        const witness = new Witness();
        const watched = db.withPlugin(witness);
        await read(watched, engine);
        const executor = db.getExecutor();
        const queries = witness.nodes.map((node) => executor.compileQuery(node, { queryId: 'plan' }));
        const found = [];
        for (const query of queries) found.push(...(await scansOf(db, engine, query)));
        return found;
      });
      expect(scans).toEqual([]);
    });

    test('which this test would see', async () => {
      const query = database.db.selectFrom('attackers').selectAll().where('as_name', '=', 'x').compile();
      expect(await scansOf(database.db, engine, query)).toHaveLength(1);
    });
  });
}
