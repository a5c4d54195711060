import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import type { SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';
import {
  Clients,
  enqueue,
  eventsOf,
  mintTicket,
  newTopology,
  newUser,
  offsetsOf,
  publishState,
  range,
  refusal,
} from './support.ts';

for (const engine of ENGINES) {
  describe(`two nodes on ${engine}`, () => {
    const clients = new Clients();
    let plane: Plane;
    let one: App;
    let other: App;
    let token: string;

    beforeAll(async () => {
      plane = await createPlane(engine);
      one = await plane.node();
      other = await plane.node();
      token = await plane.token(one.url);
    });
    afterEach(() => clients.close());
    afterAll(() => plane.stop());

    test('show the clients of each what is posted to the other, in one order', async () => {
      const id = await newTopology(plane);
      const both = [
        await clients.open(one, `/topologies/${id}/events`, { token }),
        await clients.open(other, `/topologies/${id}/events`, { token }),
      ];
      for (const client of both) await client.untilEvent('snapshot');
      await publishState(one, token, id, 'up');
      await enqueue(other, token, id);
      for (const client of both) await client.untilFrames(3);
      await publishState(other, token, id, 'down');
      await enqueue(one, token, id);
      for (const client of both) {
        await client.untilFrames(5);
        expect(offsetsOf(client.frames)).toEqual(range(0, 4));
        expect(eventsOf(client.frames).map(({ event }) => event)).toEqual([
          'decky.state',
          'mutation.enqueued',
          'decky.state',
          'mutation.enqueued',
        ]);
      }
    });

    test('hand the relay’s leadership over when the leader stops', async () => {
      const own = await createPlane(engine);
      const first = await own.node();
      const ownToken = await own.token(first.url);
      const leader = () =>
        own.database.db.selectFrom('leases').select('holder').where('name', '=', 'relay').executeTakeFirst();
      const before = await until('a leader', leader);
      const second = await own.node();
      const id = await newTopology(own);
      const client = await clients.open(second, `/topologies/${id}/events`, { token: ownToken });
      await client.untilEvent('snapshot');
      await first.stop();
      await enqueue(second, ownToken, id);
      // Sooner than the lease would have ended by itself.
      await until('the mutation', () => client.named('mutation.enqueued').length === 1, 1900);
      expect((await leader())?.holder).not.toBe(before.holder);
      await own.stop();
    });
  });
}

describe('the cap on a user’s streams, over two nodes', () => {
  const clients = new Clients();
  let plane: Plane;
  let one: App;
  let other: App;
  let admin: string;

  beforeAll(async () => {
    plane = await createPlane();
    one = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '2' });
    other = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '2' });
    admin = await plane.token(one.url);
  });
  afterEach(() => clients.close());
  afterAll(() => plane.stop());

  async function openStream(node: App, id: string, token: string): Promise<SseClient> {
    const client = await clients.open(node, `/topologies/${id}/events`, { token });
    expect(client.status).toBe(200);
    await client.untilEvent('snapshot');
    return client;
  }

  test('refuses one too many by a JSON 429 before the stream starts', async () => {
    const { token } = await newUser(plane, one);
    const id = await newTopology(plane);
    await openStream(one, id, token);
    await openStream(other, id, token);
    for (const node of [one, other]) {
      const { response } = await clients.open(node, `/topologies/${id}/events`, { token });
      expect(response?.headers.get('content-type')).toStartWith('application/json');
      expect(Number(response?.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(await refusal(response)).toEqual({ status: 429, detail: expect.stringContaining('(2)') });
    }
    const { token: someoneElse } = await newUser(plane, one);
    await openStream(one, id, someoneElse);
  });

  test('gives a slot back within a second of a disconnect', async () => {
    const { token } = await newUser(plane, one);
    const id = await newTopology(plane);
    const gone = await openStream(one, id, token);
    await openStream(other, id, token);
    gone.close();
    await until(
      'a free slot',
      async () => (await clients.open(other, `/topologies/${id}/events`, { token })).status === 200,
      1000,
    );
  });

  test('lets a resuming connection take over the oldest one to the same stream, and no other', async () => {
    const { token } = await newUser(plane, one);
    const [quiet, busy] = [await newTopology(plane), await newTopology(plane)];
    const bystander = await openStream(one, quiet, token);
    const predecessor = await openStream(one, busy, token);
    const successor = await clients.open(other, `/topologies/${busy}/events`, { token, lastId: predecessor.lastId });
    expect(successor.status).toBe(200);
    await predecessor.untilEnded();
    expect(bystander.ended).toBe(false);
    await publishState(one, admin, busy, 'up');
    await publishState(one, admin, quiet, 'up');
    await successor.untilEvent('decky.state');
    await bystander.untilEvent('decky.state');
    const third = await clients.open(one, `/topologies/${quiet}/events`, { token });
    expect(third.status).toBe(429);
  });

  test('takes over the older of two to the same stream', async () => {
    const { token } = await newUser(plane, one);
    const id = await newTopology(plane);
    const older = await openStream(other, id, token);
    const younger = await openStream(one, id, token);
    const successor = await clients.open(one, `/topologies/${id}/events`, { token, lastId: older.lastId });
    await older.untilEnded();
    await publishState(one, admin, id, 'up');
    for (const client of [younger, successor]) await client.untilEvent('decky.state');
  });

  test('is not got around by a cursor for a stream that the user does not have open', async () => {
    const { token } = await newUser(plane, one);
    const [id, unopened] = [await newTopology(plane), await newTopology(plane)];
    const { lastId } = await openStream(one, id, token);
    await openStream(other, id, token);
    const client = await clients.open(one, `/topologies/${unopened}/events`, { token, lastId });
    expect(await refusal(client.response)).toMatchObject({ status: 429 });
  });
});

describe('tickets and drains, over two nodes', () => {
  const clients = new Clients();
  let plane: Plane;
  let one: App;
  let other: App;
  let token: string;

  beforeAll(async () => {
    plane = await createPlane();
    one = await plane.node();
    other = await plane.node();
    token = await plane.token(one.url);
  });
  afterEach(() => clients.close());
  afterAll(() => plane.stop());

  test('a ticket minted on one is redeemed on the other, once', async () => {
    const path = `/topologies/${await newTopology(plane)}/events?ticket=${await mintTicket(one, token)}`;
    const answers = await Promise.all([one, other, other].map((node) => clients.open(node, path)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401, 401]);
    const again = await clients.open(one, path);
    expect(await refusal(again.response)).toMatchObject({ status: 401 });
  });

  test('a node that stops ends its streams by a finished answer with retry, and nothing is lost on the way over', async () => {
    const leaving = await plane.node();
    const id = await newTopology(plane);
    const path = `/topologies/${id}/events`;
    const before = await Promise.all(range(1, 5).map(() => clients.open(leaving, path, { token })));
    for (const client of before) await client.untilEvent('snapshot');
    const publishing = (async () => {
      for (const count of range(1, 40)) await publishState(one, token, id, `state ${count}`);
    })();
    await before[0]?.untilFrames(10);
    await Promise.all([leaving.stop(), publishing]);

    const after = await Promise.all(
      before.map(async (client) => {
        await client.untilEnded();
        expect(client.end).toBe('finished');
        expect(client.retries).toHaveLength(2);
        return clients.open(other, path, { token, lastId: client.lastId });
      }),
    );
    for (const [index, client] of after.entries()) {
      const seen = eventsOf(before[index]?.frames ?? []);
      await client.untilFrames(1 + 40 - seen.length);
      expect(client.named('resumed')).toHaveLength(1);
      expect(offsetsOf([...seen, ...eventsOf(client.frames)])).toEqual(range(1, 40));
    }
  });
});
