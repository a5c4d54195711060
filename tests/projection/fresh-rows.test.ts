import { afterAll, beforeAll, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { FreshRows } from '../../src/projection/fresh-rows.ts';
import { createTestDatabase, quiet, type TestDatabase } from '../support/database.ts';
import { startTestRedis, type TestRedis, whenReady } from '../support/redis.ts';

const ROWS = [{ projection: 'campaigns', channel: 'campaign' }];

let redis: TestRedis;
let connections: RedisConnections;
let database: TestDatabase;
let eventLog: EventLog;
beforeAll(async () => {
  [redis, database] = await Promise.all([startTestRedis(), createTestDatabase('sqlite')]);
  connections = connectRedis(redis.url, quiet);
  await whenReady(connections);
  eventLog = new EventLog(connections.commands, { maxEvents: 1000, idempotencyMs: 60_000 });
});
afterAll(async () => {
  connections.close();
  await Promise.all([redis.stop(), database.dispose()]);
});

/** Counts how often somebody wanted to know where a channel stands. */
function counted() {
  const asked = { times: 0 };
  const position = (channel: string) => {
    asked.times += 1;
    return eventLog.position(channel);
  };
  return { asked, freshRows: new FreshRows({ db: database.db, eventLog: { position } }) };
}

/** As a projection leaves it that has been started, and has not seen the event that is published now. */
async function fallBehind(): Promise<void> {
  const { epoch } = await eventLog.position('campaign');
  await database.db
    .insertInto('projections')
    .values({ name: 'campaigns', version: 1, epoch, log_offset: 0, proof: '0', event_ts: null })
    .onConflict((conflict) => conflict.column('name').doUpdateSet({ epoch }))
    .execute();
  await eventLog.publish([{ event: createEvent('campaign.formed', 'formed', { campaign_uuid: 'c' }) }]);
}

test('nobody waits for rows where nobody projects', async () => {
  await eventLog.publish([{ event: createEvent('campaign.formed', 'formed', { campaign_uuid: 'c' }) }]);
  const { asked, freshRows } = counted();
  for (let turn = 1; turn <= 3; turn += 1) {
    await freshRows.wait(ROWS);
    // A wait in vain would keep it from asking again.
    expect(asked.times).toBe(turn);
  }
});

test('rows that do not come are waited for once', async () => {
  await fallBehind();
  const { asked, freshRows } = counted();
  await Promise.all([freshRows.wait(ROWS), freshRows.wait(ROWS)]);
  expect(asked.times).toBe(2);
  for (let turn = 0; turn < 100; turn += 1) await freshRows.wait(ROWS);
  expect(asked.times).toBe(2);
});

test('a read goes on without Redis, and without a database', async () => {
  const position = () => Promise.reject(new Error('no Redis'));
  await new FreshRows({ db: database.db, eventLog: { position } }).wait(ROWS);
  const silent = () => new Promise<never>(() => {});
  await new FreshRows({ db: database.db, eventLog: { position: silent } }).wait(ROWS);
  const gone = await createTestDatabase('sqlite');
  await gone.dispose();
  await new FreshRows({ db: gone.db, eventLog }).wait(ROWS);
});
