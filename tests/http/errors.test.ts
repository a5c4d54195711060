import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { sql } from 'kysely';
import { connectRedis } from '../../src/bus/redis.ts';
import { openDatabase } from '../../src/db/database.ts';
import { AppError, type ErrorCode } from '../../src/errors.ts';
import { errorResponse } from '../../src/http/errors.ts';
import { quiet } from '../support/database.ts';
import { startTestRedis, whenReady } from '../support/redis.ts';
import { createShell, listen } from './support.ts';

/** Every code: its status and the headers that clients act on. */
const TABLE: readonly (readonly [code: ErrorCode, status: number, headers: Record<string, string>])[] = [
  ['unauthenticated', 401, { 'www-authenticate': 'Bearer' }],
  ['password_change_required', 403, {}],
  ['forbidden', 403, {}],
  ['not_found', 404, {}],
  ['conflict', 409, {}],
  ['bad_request', 400, {}],
  ['invalid', 422, {}],
  ['stream_limit', 429, { 'retry-after': '5' }],
  ['rate_limited', 429, {}],
  ['too_many_attempts', 429, { 'retry-after': '4' }],
  ['unavailable', 503, { 'retry-after': '2' }],
];

const answer = (throws: () => unknown, developer = false) => {
  const { app, lines } = createShell({ developer, throws });
  return { response: app.handle(new Request('http://localhost/throws?token=eyJa.eyJb.c')), lines };
};

describe('the table of errors', () => {
  test.each(TABLE)('%s is a %i', async (code, status, headers) => {
    const thrown = await answer(() => new AppError(code, 'what to do')).response;
    for (const response of [errorResponse(new AppError(code, 'what to do')), thrown]) {
      expect(response.status).toBe(status);
      expect(response.headers.get('content-type')).toContain('application/json');
      for (const [name, value] of Object.entries(headers)) expect(response.headers.get(name)).toBe(value);
      // slowapi's field for rate limits too (contract §4.5); pages show `detail`.
      const slowapi = code === 'rate_limited' ? { error: 'what to do' } : {};
      expect(await response.json()).toEqual({ ...slowapi, detail: 'what to do' });
    }
  });

  test('an error that a caller is told about is no fault of the server: nothing is logged', async () => {
    const { response, lines } = answer(() => new AppError('not_found', 'Topology not found'));
    await response;
    expect(lines).toEqual([]);
  });
});

describe('paths and methods', () => {
  const call = (path: string, method = 'GET') =>
    createShell().app.handle(new Request(`http://localhost${path}`, { method }));

  test('an unknown path is a 404', async () => {
    const response = await call('/unknown');
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({ detail: 'Not Found' });
  });

  test('another method of a known path is a 405 that names those which there are', async () => {
    const response = await call('/known', 'DELETE');
    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe('GET, POST');
    expect(await response.json()).toEqual({ detail: 'Method Not Allowed' });
  });
});

describe('a body', () => {
  let server: ReturnType<typeof listen>;
  beforeAll(() => {
    server = listen();
  });
  afterAll(() => server.stop());

  const STRUCTURAL = 'Bad Request: Schema structural violation (wrong type, extra fields, or invalid length).';
  const INVALID = 'Invalid request parameters';

  // Contract §5.3 rules 2 and 3.
  test.each([
    ['in order', '{"name":"abc"}', 200, undefined],
    ['with an unknown field', '{"name":"abc","more":1}', 200, undefined],
    ['that is no JSON', '{"name":', 422, INVALID],
    ['with a field missing', '{}', 400, STRUCTURAL],
    ['with too short a string', '{"name":"a"}', 400, STRUCTURAL],
    ['with a number for a string', '{"name":7}', 400, STRUCTURAL],
    ['with null for a string', '{"name":null}', 400, STRUCTURAL],
    ['with too long a string', '{"name":"abcdef"}', 422, INVALID],
    ['with a literal that is none of those', '{"name":"abc","kind":"c"}', 422, INVALID],
    ['with a number out of range', '{"name":"abc","size":0}', 422, INVALID],
    ['with a word for a number', '{"name":"abc","size":"many"}', 422, INVALID],
    ['that is an array', '[1]', 422, INVALID],
    ['that is a string', '"abc"', 422, INVALID],
    ['that is null', 'null', 422, INVALID],
  ])('%s', async (_what, body, status, detail) => {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${server.url}/known`, { method: 'POST', headers, body });
    expect(response.status).toBe(status);
    if (detail !== undefined) expect(await response.json()).toEqual({ detail });
  });

  test('that is absent where one is needed is a missing field', async () => {
    const response = await fetch(`${server.url}/known`, { method: 'POST' });
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({ detail: STRUCTURAL });
  });

  test('is not echoed in the answer: it may hold a password', async () => {
    const body = '{"name":"correct-horse-battery"}';
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${server.url}/known`, { method: 'POST', headers, body });
    expect(await response.text()).not.toContain('horse');
    expect(server.lines.join()).not.toContain('horse');
  });
});

describe('an unexpected failure', () => {
  const SECRETS = ['topsecret', 'eyJhbGciOi', 'tick-123'];
  const failure = () =>
    new TypeError(
      'cannot open postgres://admin:topsecret@db/x for Bearer eyJhbGciOi.eyJzdWIi.c2ln at /events?ticket=tick-123',
    );

  const bodyOf = async (response: Response): Promise<Record<string, unknown>> => JSON.parse(await response.text());

  test('tells an id and nothing of what happened', async () => {
    const { response, lines } = answer(failure);
    expect((await response).status).toBe(500);
    const { detail, error_id, ...more } = await bodyOf(await response);
    expect({ detail, more }).toEqual({ detail: 'Internal Server Error', more: {} });
    expect(error_id).toMatch(/^[0-9a-f]{32}$/);
    // By the id the log line is found.
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level: 'error', error_id, path: '/throws' });
  });

  test('tells a developer its type and stack', async () => {
    const body = await bodyOf(await answer(failure, true).response);
    expect(body).toMatchObject({ detail: 'Internal Server Error', exception_type: 'TypeError' });
    expect(body.traceback).toContain('cannot open');
    expect(body.traceback).toContain('support.ts');
  });

  test.each([false, true])('never tells a secret, in the body or in the log (developer mode %p)', async (developer) => {
    const { response, lines } = answer(failure, developer);
    const told = (await (await response).text()) + lines.join();
    for (const secret of SECRETS) expect(told).not.toContain(secret);
  });

  test.each([
    ['a string', () => 'thrown bare with Bearer topsecret'],
    ['an object', () => ({ password: 'topsecret' })],
  ])('that threw %s is answered all the same', async (_what, throws) => {
    for (const developer of [false, true]) {
      const response = await answer(throws, developer).response;
      expect(response.status).toBe(500);
      expect(await response.text()).not.toContain('topsecret');
    }
  });
});

describe('a backing service that cannot be reached is a 503 that says when to come back', () => {
  async function expectUnavailable(error: unknown): Promise<void> {
    const { response, lines } = answer(() => error);
    expect({ error: String(error), status: (await response).status }).toEqual({ error: String(error), status: 503 });
    expect((await response).headers.get('retry-after')).toBe('2');
    expect(await (await response).text()).not.toContain('127.0.0.1');
    expect(lines.map((line) => JSON.parse(line).level)).toEqual(['warn']);
  }

  /** What a driver throws. */
  const failureOf = (call: () => Promise<unknown>): Promise<unknown> =>
    call().then(
      () => undefined,
      (error: unknown) => error,
    );

  test.each([
    ['a port where nothing listens', 'postgres://u:p@127.0.0.1:1/x'],
    ['a socket that is not there', 'postgres://u:p@%2Fnonexistent/x'],
  ])('PostgreSQL on %s', async (_where, url) => {
    const db = openDatabase(url, quiet);
    await expectUnavailable(await failureOf(() => sql`select 1`.execute(db)));
    await db.destroy();
  });

  test('Redis that has gone', async () => {
    const server = await startTestRedis();
    const redis = connectRedis(server.url, quiet);
    await whenReady(redis);
    await server.down();
    await expectUnavailable(await failureOf(() => redis.commands.ping()));
    redis.close();
    await server.stop();
  });

  // As the drivers word them; to bring each about takes a network or many seconds.
  test.each([
    'Command timed out',
    'getaddrinfo ENOTFOUND db.internal',
    'Client has encountered a connection error and is not queryable',
    'Connection terminated due to connection timeout',
    'timeout exceeded when trying to connect',
    'terminating connection due to administrator command',
    'sorry, too many clients already',
    'database is locked',
    'Connection is closed.',
  ])('%s', (message) => expectUnavailable(new Error(message)));

  const coded = (code: string, message = 'no words that are known') => Object.assign(new Error(message), { code });
  const reply = (message: string) => Object.assign(new Error(message), { name: 'ReplyError' });

  // By code, in whatever language the server words them.
  test.each([
    coded('ECONNREFUSED', ''),
    coded('57P03'),
    coded('57P01'),
    coded('53300'),
    coded('08006'),
    coded('40P01'),
    coded('SQLITE_BUSY'),
    coded('SQLITE_BUSY_SNAPSHOT'),
    reply('LOADING Redis is loading the dataset in memory'),
    reply("OOM command not allowed when used memory > 'maxmemory'."),
  ])('%o', (error) => expectUnavailable(error));

  test('what only looks like one is a fault of ours', async () => {
    for (const error of [
      coded('42601'),
      coded('SQLITE_ERROR'),
      reply('BUSYGROUP Consumer Group name already exists'),
    ]) {
      const { response } = answer(() => error);
      expect({ error: String(error), status: (await response).status }).toEqual({ error: String(error), status: 500 });
    }
  });

  test.each(['22001', '22003', '22021', '22P05', '54000', 'SQLITE_TOOBIG'])(
    'a value that the database cannot hold (%s) is the client`s fault: one line, no stack',
    async (code) => {
      const { response, lines } = answer(() => coded(code));
      expect((await response).status).toBe(422);
      expect(lines.map((line) => JSON.parse(line))).toEqual([
        expect.objectContaining({ level: 'warn', error: 'no words that are known' }),
      ]);
      expect(lines.join()).not.toContain('stack');
    },
  );
});
