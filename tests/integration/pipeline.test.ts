import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import { SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';

const WORKING = { ROLES: '' };

for (const engine of ENGINES) {
  describe(`the pipeline as a whole on ${engine}`, () => {
    let plane: Plane;
    let node: App;
    let token: string;
    const open: SseClient[] = [];

    beforeEach(async () => {
      plane = await createPlane(engine);
      node = await plane.node({}, WORKING);
      token = await plane.token(node.url);
    });
    afterEach(async () => {
      for (const client of open.splice(0)) client.close();
      await plane.stop();
    });

    const connect = async (path: string, init: { lastId?: string } = {}) => {
      const client = await SseClient.open(`${node.url}/api/v1${path}`, { token, ...init });
      open.push(client);
      return client;
    };

    async function json(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
      const answer = await call(node.url, token, method, path, body);
      const said: unknown = await answer.json();
      if (!answer.ok || typeof said !== 'object' || said === null) throw new Error(`${path}: ${answer.status}`);
      return { ...said };
    }

    /** Creates a blank topology and deploys it, as an operator would. */
    async function deployed(): Promise<string> {
      const { id } = await json('POST', '/topologies/blank', { name: `t-${crypto.randomUUID()}` });
      await json('POST', `/topologies/${id}/deploy`);
      await until('the topology to be active', async () => {
        const { topology } = await json('GET', `/topologies/${id}`);
        return JSON.stringify(topology).includes('"status":"active"');
      });
      return String(id);
    }

    const enqueue = (id: string, op: string, payload: unknown) =>
      json('POST', `/topologies/${id}/mutations`, { op, payload });

    test('from nothing to a changed, degraded and healed topology, each step told in order', async () => {
      const id = await deployed();
      const client = await connect(`/topologies/${id}/events`);
      await client.untilEvent('snapshot');
      await enqueue(id, 'add_lan', { name: 'lab' });
      await enqueue(id, 'add_decky', { name: 'bait', lan: 'nowhere' });
      await enqueue(id, 'add_decky', { name: 'bait', lan: 'lab', services: ['ssh'] });
      await until('the healing', () => client.named('status').length === 2);
      const steps = client.frames.slice(1).filter(({ event }) => event !== 'mutation.enqueued');
      expect(steps.map(({ event }) => event)).toEqual([
        'mutation.applying',
        'mutation.applied',
        'mutation.applying',
        'mutation.failed',
        'status',
        'mutation.applying',
        'mutation.applied',
        'status',
      ]);
      const states = client.named('status').map(({ data }) => JSON.parse(data).payload.state);
      expect(states).toEqual(['degraded', 'active']);
      const { deckies } = await json('GET', `/topologies/${id}`);
      expect(JSON.stringify(deckies)).toContain('"name":"bait"');
    });

    test('snapshot and events together are the database, whenever a client comes', async () => {
      const id = await deployed();
      const watchers: SseClient[] = [];
      for (let round = 0; round < 12; round += 1) {
        await Promise.all([
          enqueue(id, 'add_lan', { name: `lan-${round}` }),
          enqueue(id, 'remove_lan', { name: `not-there-${round}` }),
          connect(`/topologies/${id}/events`).then((client) => watchers.push(client)),
        ]);
      }
      // One that all of them see from its beginning.
      await Promise.all(watchers.map((client) => client.untilEvent('snapshot')));
      await enqueue(id, 'add_lan', { name: 'last' });
      const states = async () => {
        const rows = await call(node.url, token, 'GET', `/topologies/${id}/mutations`);
        const list: unknown = await rows.json();
        if (!Array.isArray(list)) throw new Error('no list');
        return new Map(list.map((row: { id: string; state: string }) => [row.id, row.state]));
      };
      const final = await until('all to be done', async () => {
        const now = await states();
        return [...now.values()].every((state) => state === 'applied' || state === 'failed') && now.size === 25 && now;
      });
      await until('all to be told', () => watchers.every((client) => isComplete(client, final)));
      for (const client of watchers) expect(reconciled(client)).toEqual(onlyKnown(final, client));
    });

    test('of two who expect one version, one has it', async () => {
      const id = await deployed();
      const { topology } = await json('GET', `/topologies/${id}`);
      const version: unknown = Object(topology).version;
      const answers = await Promise.all(
        [1, 2].map((n) =>
          call(node.url, token, 'POST', `/topologies/${id}/mutations`, {
            op: 'add_lan',
            payload: { name: `lan-${n}` },
            expected_version: version,
          }),
        ),
      );
      expect(answers.map(({ status }) => status).sort()).toEqual([202, 409]);
    });
  });
}

/** What a client knows of each mutation: from the snapshot, then from the events. */
function reconciled(client: SseClient): Map<string, string> {
  const known = new Map<string, string>();
  for (const { event, data } of client.frames) {
    const body = JSON.parse(data);
    if (event === 'snapshot') for (const row of body.in_flight) known.set(row.id, row.state);
    if (!event.startsWith('mutation.')) continue;
    const state = event.slice('mutation.'.length);
    known.set(body.payload.mutation_id, state === 'enqueued' ? 'pending' : state);
  }
  return known;
}

/** What was done before the client came is neither in flight nor an event: it cannot know of it. */
function onlyKnown(final: ReadonlyMap<string, string>, client: SseClient): Map<string, string> {
  const known = reconciled(client);
  return new Map([...final].filter(([id]) => known.has(id)));
}

/** The client has seen the end of all that it has seen the beginning of, and of the newest mutation. */
function isComplete(client: SseClient, final: ReadonlyMap<string, string>): boolean {
  const known = reconciled(client);
  const [newest] = final.keys();
  const isDone = [...known.values()].every((state) => state === 'applied' || state === 'failed');
  return isDone && newest !== undefined && known.has(newest);
}
