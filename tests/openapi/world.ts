import { createEvent } from '../../src/bus/event.ts';
import { appendToOutbox } from '../../src/bus/outbox.ts';
import type { Engine } from '../../src/db/database.ts';
import { seedDemo } from '../../src/demo/seed.ts';
import { seedAttackers } from '../../src/demo/seed-attackers.ts';
import { seedFleet } from '../../src/demo/seed-fleet.ts';
import type { App } from '../../src/main.ts';
import { ADMIN, call, createPlane, type Plane, testEnv } from '../support/app.ts';
import { until } from '../support/until.ts';

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

/** A supervisor that can start one of two workers; developers may purge. */
const SETTINGS = {
  // Webhooks of tests are sent to where nobody listens.
  DECNET_WEBHOOK_ALLOW_PRIVATE: 'true',
  DECNET_DEVELOPER: 'true',
  DECNET_SUPERVISOR_COMMAND: 'test {worker} = prober',
  DECNET_SUPERVISOR_WORKERS: 'prober,ttp',
};

/** Roles of a node that also makes read models. */
export const PROJECTING = { ROLES: `${testEnv('', '').ROLES},projector` };

/** An attacker that events tell of. */
export const ATTACKER = 'a-1';
const ADDRESS = '192.0.2.1';

/** Something of everything that read models are made of. */
const STORY: readonly (readonly [topic: string, payload: object])[] = [
  ['system.log', { decky: 'web-front', service: 'ssh', attacker_ip: ADDRESS, event_type: 'login', raw_line: 'a line' }],
  ['system.log', { decky: 'web-front', service: 'ssh', attacker_ip: ADDRESS, fields: { username: 'root' }, msg: 'x' }],
  [
    'attacker.observation.motor',
    { attacker_uuid: ATTACKER, attacker_ip: ADDRESS, value: { fast: 1 }, confidence: 0.5 },
  ],
  ['campaign.formed', { campaign_uuid: 'c-1', identity_uuids: ['i-1'] }],
  ['orchestrator.traffic.web-front', { action: 'exec:id', success: true }],
  ['orchestrator.file.web-front', { action: 'write', success: false, src_decky_uuid: 'd-1' }],
  ['system.sniffer.health', { ts: 1_795_231_317, realism: { on: true } }],
];

/** Publishes it, and waits until read models hold it: the node projects. */
export async function tellStory(node: App, token: string): Promise<void> {
  const events = STORY.map(([topic, payload]) => ({ topic, payload }));
  const told = await call(node.url, token, 'POST', '/events', events);
  if (told.status !== 202) throw new Error(`publishing: ${told.status} ${await told.text()}`);
  await until('the projections to catch up', async () => {
    const { checks }: Answer = await (await fetch(`${node.url}/readyz`)).json();
    return Object.values(checks.projections).every(
      (lag) => Object(lag).events === undefined || Object(lag).events === 0,
    );
  });
}

export async function createWorld(engine: Engine): Promise<World> {
  const plane = await createPlane(engine);
  const node = await plane.node({}, { ...PROJECTING, ...SETTINGS });
  await seedDemo(plane.database.db, Date.now());
  await plane.database.db.transaction().execute((trx) => seedFleet(trx, Date.now()));
  const admin = await plane.token(node.url, 'admin');
  const before = seedAttackers(Date.now()).map(({ id, topic, type, payload }) => ({ id, topic, type, payload }));
  await call(node.url, admin, 'POST', '/events', before);
  await tellStory(node, admin);
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

/** A decky of the fleet that runs ssh alone, and its name. */
export async function newFleetDecky({ plane }: World): Promise<string> {
  const name = newName();
  const { db } = plane.database;
  const row = await db
    .selectFrom('fleet_deckies')
    .selectAll()
    .where('name', '=', 'edge-cache')
    .executeTakeFirstOrThrow();
  await db
    .insertInto('fleet_deckies')
    .values({ ...row, name, ip: `10.250.${Math.floor(names / 250)}.${names % 250}`, services: '["ssh"]' })
    .execute();
  return name;
}

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
