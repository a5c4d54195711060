import { afterEach, describe, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { listLogs } from '../../src/logs/repository.ts';
import { parseSearch } from '../../src/logs/search.ts';
import { readStats } from '../../src/logs/stats.ts';
import { createStage, type Stage } from '../projection/support.ts';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';

const LIMIT_MS = 60_000;

let stage: Stage;
afterEach(() => stage.stop());

/** Resolves when the newest of them has been looked at. */
async function publishLines(...lines: string[]): Promise<void> {
  await stage.publish(lines.map((line) => createEvent('system.log', 'login', { decky: 'web-1', raw_line: line })));
  const { db } = stage.database;
  await until('the newest line', async () => {
    const found = await db
      .selectFrom('logs')
      .select('id')
      .where('raw_line', '=', lines.at(-1) ?? '')
      .execute();
    const setAside = await db.selectFrom('projection_set_aside').select('event_id').execute();
    return found.length > 0 || setAside.length > 0;
  });
}

/** Redis comes back without the newest lines, and nobody else has noticed. */
async function comeBackOlder(): Promise<void> {
  await stage.server.down();
  await stage.server.restore();
  await stage.server.up();
  await until('redis', () => stage.eventLog.position('log').catch(() => undefined));
}

for (const engine of ENGINES) {
  describe(`lines of a log that came back older (${engine})`, () => {
    // A storm found it: such a line was set aside, because its id was another one's.
    test(
      'a line that has the number of a lost one has a row of its own, again and again',
      async () => {
        stage = await createStage(engine);
        const { db } = stage.database;
        await stage.node();
        await publishLines('kept');
        await stage.server.backup();
        for (const life of ['first', 'second', 'third']) {
          await publishLines(`${life} a`, `${life} b`);
          if (life !== 'third') await comeBackOlder();
        }
        await publishLines('newest');
        expect(await db.selectFrom('projection_set_aside').select('error').execute()).toEqual([]);
        const rows = await db.selectFrom('logs').select(['id', 'raw_line']).orderBy('id').execute();
        const lives = ['first', 'second', 'third'].flatMap((life) => [`${life} a`, `${life} b`]);
        expect(rows.map(({ raw_line }) => raw_line).sort()).toEqual(['kept', 'newest', ...lives].sort());
        // Of two that stand side by side in the log the newer one has the higher id.
        const idOf = (line: string) => rows.find(({ raw_line }) => raw_line === line)?.id ?? 0;
        for (const life of ['first', 'second', 'third']) expect(idOf(`${life} a`)).toBeLessThan(idOf(`${life} b`));
        expect(await readStats(db)).toMatchObject({ total_logs: rows.length });
      },
      LIMIT_MS,
    );

    test(
      'lines that were lost and are published again in another order have the ids of the places where they stand now',
      async () => {
        stage = await createStage(engine);
        const { db } = stage.database;
        await stage.node();
        await publishLines('kept');
        await stage.server.backup();
        const lines = ['alpha', 'bravo', 'charlie', 'delta'].map((line) =>
          createEvent('system.log', 'login', { decky: 'web-1', raw_line: line }),
        );
        await stage.publish(lines);
        await stage.caughtUp();
        await comeBackOlder();
        await stage.publish(lines.toReversed());
        await publishLines('newest');
        const rows = await db.selectFrom('logs').select(['id', 'raw_line']).orderBy('id').execute();
        expect(rows.map(({ raw_line }) => raw_line)).toEqual(['kept', 'delta', 'charlie', 'bravo', 'alpha', 'newest']);
        const [first = { id: 0 }] = rows;
        expect(rows.map(({ id }) => id - first.id)).toEqual([0, 1, 2, 3, 4, 5]);
        // What is found by its text is found under the new id.
        const found = await listLogs(db, engine, { search: parseSearch('bravo'), range: {} }, { limit: 9, offset: 0 });
        expect(found.rows.map(({ id }) => id - first.id)).toEqual([3]);
      },
      LIMIT_MS,
    );
  });
}
