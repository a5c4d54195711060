import { createEvent } from '../../src/bus/event.ts';
import { appendToOutbox } from '../../src/bus/outbox.ts';
import type { Engine } from '../../src/db/database.ts';
import { seedDemo } from '../../src/demo/seed.ts';
import { seedFleet } from '../../src/demo/seed-fleet.ts';
import type { App } from '../../src/main.ts';
import { ADMIN, call, createPlane, type Plane } from '../support/app.ts';

/** A node with something of everything in it, and who calls it. */
export interface World {
  readonly plane: Plane;
  readonly node: App;
  readonly admin: string;
  readonly viewer: string;
  /** The JSON that the API answers an admin; throws for a refusal. */
  api(method: string, path: string, body?: object): Promise<Answer>;
}

// biome-ignore lint/suspicious/noExplicitAny: answers are validated elsewhere; here their ids are taken
export type Answer = any;

export async function createWorld(engine: Engine): Promise<World> {
  const plane = await createPlane(engine);
  const node = await plane.node({}, { DECNET_WEBHOOK_ALLOW_PRIVATE: 'true' });
  await seedDemo(plane.database.db, Date.now());
  await plane.database.db.transaction().execute((trx) => seedFleet(trx, Date.now()));
  const admin = await plane.token(node.url, 'admin');
  return {
    plane,
    node,
    admin,
    viewer: await plane.token(node.url, 'viewer'),
    async api(method, path, body) {
      const response = await call(node.url, admin, method, path, body);
      const text = await response.text();
      if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
      return text === '' ? undefined : JSON.parse(text);
    },
  };
}

let names = 0;
export function newName(): string {
  names += 1;
  return `thing-${names}`;
}

/** A topology that is pending: a DMZ and a gateway. */
export async function pendingTopology({ api }: World): Promise<Answer> {
  const { id } = await api('POST', '/topologies/blank', { name: newName() });
  return api('GET', `/topologies/${id}`);
}

/** The same, said to be deployed. */
export async function liveTopology(world: World): Promise<Answer> {
  const detail = await pendingTopology(world);
  const { id } = detail.topology;
  await world.plane.database.db.updateTable('topologies').set({ status: 'active' }).where('id', '=', id).execute();
  return detail;
}

/** A user, and a session of that user. */
export async function newUser(world: World): Promise<{ readonly uuid: string; readonly token: string }> {
  const { plane, node } = world;
  const username = newName();
  const token = await plane.token(node.url, 'viewer', username);
  const { users } = await world.api('GET', '/config');
  const { uuid } = users.find((user: { username: string }) => user.username === username);
  return { uuid, token };
}

/** A service account, with its secret. */
export function newAccount({ api }: World): Promise<Answer> {
  return api('POST', '/service-accounts', { name: newName(), publish: ['attacker.>'], subscribe: ['decky.>'] });
}

/** An event that could not be published; its id. */
export async function setAsideEvent({ plane }: World): Promise<string> {
  const { db } = plane.database;
  const id = newName();
  const event = createEvent('identity.updated', 'updated', { note: 'x' }, id);
  await db.transaction().execute(async (trx) => {
    await appendToOutbox(trx, [event]);
    // Before the relay sees it.
    const row = await trx.selectFrom('outbox').selectAll().where('event_id', '=', id).executeTakeFirstOrThrow();
    await trx.deleteFrom('outbox').where('seq', '=', row.seq).execute();
    await trx
      .insertInto('outbox_set_aside')
      .values({
        event_id: id,
        topic: row.topic,
        type: row.type,
        ts: row.ts,
        bytes: row.bytes,
        revisions: row.revisions,
        forget: row.forget,
        tries: 5,
        error: 'refused',
        substituted: 0,
        set_aside_at: new Date().toISOString(),
        payload: row.payload,
      })
      .execute();
  });
  return id;
}

export const PASSWORD = ADMIN.password;

export const newWebhookBody = () => ({
  name: newName(),
  // Where nobody listens.
  url: 'http://127.0.0.1:1024/',
  topic_patterns: ['attacker.>'],
});

/** A webhook with a dead letter; its id, and the number of the delivery. */
export async function newWebhook({ api, plane }: World): Promise<{ readonly uuid: string; readonly seq: string }> {
  const { uuid } = await api('POST', '/webhooks/', newWebhookBody());
  const { db } = plane.database;
  const event_id = newName();
  const data = '{"topic":"attacker.seen","type":"seen","ts":1,"payload":{}}';
  await db
    .insertInto('webhook_events')
    .values({ event_id, topic: 'attacker.seen', created_at: 1, bytes: data.length, data })
    .execute();
  const delivery = { subscription: uuid, event_id, state: 'dead', attempts: 1, due_at: 1, created_at: 1 } as const;
  const { seq } = await db
    .insertInto('webhook_deliveries')
    .values({ ...delivery, finished_at: 2, status: 404, latency_ms: 3, error: 'non-retryable 404' })
    .returning('seq')
    .executeTakeFirstOrThrow();
  await db
    .insertInto('webhook_attempts')
    .values({ delivery: seq, number: 1, at: 2, status: 404, latency_ms: 3, error: 'non-retryable 404', excerpt: 'no' })
    .execute();
  return { uuid, seq: String(seq) };
}
