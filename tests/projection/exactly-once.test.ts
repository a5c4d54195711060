import { afterEach, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { ENGINES } from '../support/database.ts';
import { seeded } from '../support/random.ts';
import { until } from '../support/until.ts';
import { createStage, dump, type Stage, someEvents } from './support.ts';

const LIMIT_MS = 60_000;
const NODE = join(import.meta.dir, 'projecting-node.ts');

let stage: Stage;
const children: Bun.Subprocess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL');
    await child.exited;
  }
  await stage.stop();
});

/** A process that projects, until it is killed. */
function spawn(): Bun.Subprocess {
  const child = Bun.spawn([process.execPath, NODE, stage.database.url, stage.server.url], {
    env: process.env,
    stdout: 'ignore',
    stderr: 'inherit',
  });
  children.push(child);
  return child;
}

const counted = async (name: string) => {
  const row = await stage.database.db
    .selectFrom('projections')
    .select('log_offset')
    .where('name', '=', name)
    .executeTakeFirst();
  return row?.log_offset ?? 0;
};

for (const engine of ENGINES) {
  describe(`rows follow the log exactly (${engine})`, () => {
    test(
      'though processes that write them are killed wherever they are',
      async () => {
        stage = await createStage(engine);
        const { next: random } = seeded(7);
        let published = 0;
        for (let round = 0; round < 4; round += 1) {
          const child = spawn();
          await stage.publish(someEvents(250, random, published));
          published += 250;
          const target = published - 250 + Math.floor(random() * 250);
          await until('some progress', async () => (await counted('logs')) >= target, 20_000);
          child.kill('SIGKILL');
          await child.exited;
          // Another one need not wait until its lease has ended.
          await stage.database.db.deleteFrom('leases').execute();
        }
        await stage.node();
        await stage.caughtUp();
        expect(await dump(stage.database.db)).toEqual(await stage.recount());
      },
      LIMIT_MS,
    );
  });
}
