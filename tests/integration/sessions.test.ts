import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { ADMIN, call, createPlane, login, type Plane } from '../support/app.ts';
import type { SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';
import {
  Clients,
  eventsOf,
  mintTicket,
  newTopology,
  newUser,
  offsetsOf,
  publishState,
  range,
  refusal,
  tokenOf,
} from './support.ts';

const LIMIT_MS = 30_000;

const clients = new Clients();
const logLines: string[] = [];
let plane: Plane;
let one: App;
let other: App;
let admin: string;
let topology: string;
let path: string;

beforeAll(async () => {
  plane = await createPlane();
  const log = createLog('debug', (line) => logLines.push(line));
  one = await plane.node({ log });
  other = await plane.node({ log });
  admin = await plane.token(one.url);
  topology = await newTopology(plane);
  path = `/topologies/${topology}/events`;
});
afterEach(() => clients.close());
afterAll(() => plane.stop());

describe('an open stream', () => {
  type User = Awaited<ReturnType<typeof newUser>>;
  const byAdmin = (method: string, tail: string, body?: object) => (user: User) =>
    call(one.url, admin, method, `/config/users/${user.uuid}${tail}`, body);

  test.each([
    ['logout', (user: User) => call(one.url, user.olderToken, 'POST', '/auth/logout')],
    ['a changed role', byAdmin('PUT', '/role', { role: 'viewer' })],
    ['a deleted user', byAdmin('DELETE', '')],
    ['a reset password', byAdmin('PUT', '/reset-password', { new_password: 'another-word-42' })],
    [
      'a changed password',
      (user: User) =>
        call(one.url, user.olderToken, 'POST', '/auth/change-password', {
          old_password: ADMIN.password,
          new_password: 'another-word-42',
        }),
    ],
  ])('ends by %s, on the node where that is done and on the other', async (_, revoke) => {
    const user = await newUser(plane, one, 'admin');
    const streams = [
      await clients.open(one, path, { token: user.olderToken }),
      await clients.open(other, path, { token: user.olderToken }),
      await clients.open(other, '/events?topics=>', { token: user.olderToken }),
    ];
    const bystander = await clients.open(other, path, { token: admin });
    for (const client of [...streams, bystander]) await client.untilFrames(1);
    expect((await revoke(user)).status).toBe(200);
    for (const client of streams) {
      await client.untilEnded();
      // A native EventSource reconnects after a finished answer only, and has to be refused then.
      expect(client.end).toBe('finished');
      expect(client.retries).toHaveLength(2);
    }
    const back = await clients.open(other, path, { token: user.olderToken });
    expect(await refusal(back.response)).toMatchObject({ status: 401 });
    expect(bystander.ended).toBe(false);
  });

  test('of another login of the same user survives a logout', async () => {
    const user = await newUser(plane, one);
    const [leaving, staying] = [
      await clients.open(one, path, { token: user.token }),
      await clients.open(one, path, { token: await login(one.url, user.username) }),
    ];
    await staying.untilFrames(1);
    await call(other.url, user.token, 'POST', '/auth/logout');
    await leaving.untilEnded();
    await publishState(one, admin, topology, 'up');
    await staying.untilEvent('decky.state');
  });

  test('ends when its token expires, by a finished answer', async () => {
    const { uuid } = await newUser(plane, one);
    const client = await clients.open(one, path, { token: tokenOf(plane, uuid, { life: 2 }) });
    const longer = await clients.open(one, path, { token: tokenOf(plane, uuid, { life: 600 }) });
    await client.untilFrames(1);
    await client.untilEnded();
    expect(client.end).toBe('finished');
    expect(longer.ended).toBe(false);
  });
});

describe('a browser that cannot set headers', () => {
  const cookieOf = (client: SseClient) => client.response?.headers.get('set-cookie')?.split(';')[0] ?? '';

  /** Streams by a ticket, and loses the connection after some events. */
  async function watch(token: string) {
    const url = `${path}&ticket=${await mintTicket(other, token)}`.replace('&', '?');
    const client = await clients.open(one, url);
    await client.untilEvent('snapshot');
    await publishState(one, admin, topology, 'before');
    await client.untilEvent('decky.state');
    client.close();
    return { url, cookie: cookieOf(client), lastId: client.lastId };
  }

  test('comes back with a spent ticket and its cookie, to either node, and gets what it missed', async () => {
    const { url, cookie, lastId } = await watch((await newUser(plane, one)).token);
    expect(cookie).toMatch(/^decnet_stream=./);
    await publishState(one, admin, topology, 'missed');
    for (const node of [one, other]) {
      const client = await clients.open(node, url, { lastId, headers: { cookie } });
      expect(client.status).toBe(200);
      await client.untilFrames(2);
      expect(client.frames[0]).toMatchObject({ event: 'resumed', id: lastId });
      const [last = 0] = offsetsOf([{ id: lastId, event: '', data: '' }]);
      expect(offsetsOf(eventsOf(client.frames))).toEqual(range(last + 1, last + 1));
    }
  });

  test('is refused with a spent ticket and no cookie, another session’s, or after logout', async () => {
    const { token } = await newUser(plane, one);
    const mine = await watch(token);
    const theirs = await watch((await newUser(plane, one)).token);
    for (const headers of [{}, { cookie: theirs.cookie }, { cookie: 'decnet_stream=' }]) {
      const { response } = await clients.open(one, mine.url, { lastId: mine.lastId, headers });
      expect(await refusal(response)).toMatchObject({ status: 401 });
    }
    await call(one.url, token, 'POST', '/auth/logout');
    const { response } = await clients.open(one, mine.url, { headers: { cookie: mine.cookie } });
    expect(await refusal(response)).toMatchObject({ status: 401 });
  });

  test('may send its token in the query, unless that is switched off', async () => {
    const strict = await plane.node({}, { DECNET_SSE_QUERY_TOKEN: 'false' });
    const client = await clients.open(one, `${path}?token=${admin}`);
    await client.untilEvent('snapshot');
    const { response } = await clients.open(strict, `${path}?token=${admin}`);
    expect(await refusal(response)).toMatchObject({ status: 401 });
  });

  test('cannot open a stream by the cookie, or use it as a token', async () => {
    const { cookie } = await watch((await newUser(plane, one)).token);
    for (const query of ['', `?token=${cookie.split('=')[1]}`]) {
      const { response } = await clients.open(one, `${path}${query}`, { headers: { cookie } });
      expect(await refusal(response)).toMatchObject({ status: 401 });
    }
  });
});

describe('what is refused', () => {
  test('is refused in the order 401, 403, 404, 429, as JSON with detail', async () => {
    const capped = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '1' });
    const user = await newUser(plane, one);
    const unknown = `/topologies/${crypto.randomUUID()}/events`;
    const statusOf = async (stream: string, token?: string) => {
      const { response } = await clients.open(capped, stream, token === undefined ? {} : { token });
      expect(response?.headers.get('content-type')).toStartWith('application/json');
      return (await refusal(response)).status;
    };
    const first = await clients.open(capped, path, { token: user.token });
    await first.untilEvent('snapshot');

    expect(await statusOf(unknown)).toBe(401);
    expect(await statusOf(unknown, 'no.such.token')).toBe(401);
    expect(await statusOf(unknown, user.token)).toBe(404);
    expect(await statusOf(path, user.token)).toBe(429);
    await plane.database.db
      .updateTable('users')
      .set({ must_change_password: 1 })
      .where('uuid', '=', user.uuid)
      .execute();
    expect(await statusOf(unknown, user.token)).toBe(403);
    expect(await statusOf(path, user.token)).toBe(403);
  });

  test('names what a 401 wants', async () => {
    const { response } = await clients.open(one, path);
    expect(response?.headers.get('www-authenticate')).toBe('Bearer');
    expect(await refusal(response)).toEqual({ status: 401, detail: 'Could not validate credentials' });
  });

  test.each(['HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'])('is every method but GET: %s is a 405', async (method) => {
    for (const stream of [path, '/identities/events']) {
      const headers = { authorization: `Bearer ${admin}` };
      const response = await fetch(`${one.url}/api/v1${stream}`, { method, headers });
      expect(response.status).toBe(405);
      expect(response.headers.get('allow')).toContain('GET');
      if (method !== 'HEAD') expect(await refusal(response)).toMatchObject({ status: 405 });
    }
  });

  test('holds no slot', async () => {
    const capped = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '1' });
    const { token } = await newUser(plane, one);
    await clients.open(capped, `/topologies/${crypto.randomUUID()}/events`, { token });
    await clients.open(capped, '/events?topics=a b', { token });
    expect((await clients.open(capped, path, { token })).status).toBe(200);
  });
});

test(
  'no token, ticket, cookie or password is in any line of the log',
  async () => {
    const user = await newUser(plane, one);
    const ticket = await mintTicket(one, user.token);
    const byTicket = await clients.open(one, `${path}?ticket=${ticket}`);
    const cookie = byTicket.response?.headers.get('set-cookie')?.match(/decnet_stream=([^;]+)/)?.[1] ?? '';
    await clients.open(one, `${path}?token=${user.token}`);
    const forged = `${user.token.slice(0, -4)}AAAA`;
    await clients.open(one, `${path}?token=${forged}`);
    await clients.open(one, `/nowhere?token=${user.token}&ticket=${ticket}`);
    // With Redis away everything that is tried fails aloud.
    const from = logLines.length;
    await plane.redis.down();
    await Promise.all([
      clients.open(one, `${path}?ticket=${ticket}`),
      clients.open(one, `${path}?token=${user.token}`, { headers: { cookie: `decnet_stream=${cookie}` } }),
      call(one.url, user.token, 'POST', '/auth/sse-ticket'),
    ]);
    await plane.redis.up();
    await until('lines about the outage', () => logLines.length > from + 1);
    for (const { url } of [one, other]) await until('readiness', async () => (await fetch(`${url}/readyz`)).ok);
    const text = logLines.join('\n');
    for (const secret of [user.token, user.olderToken, forged, ticket, cookie, ADMIN.password, admin]) {
      expect(secret.length).toBeGreaterThan(10);
      expect(text).not.toContain(secret);
    }
  },
  LIMIT_MS,
);
