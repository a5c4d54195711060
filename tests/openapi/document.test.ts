import { afterAll, beforeAll, expect, test } from 'bun:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { TAGS } from '../../src/http/operation.ts';
import type { App } from '../../src/main.ts';
import { models } from '../../src/openapi/models.ts';
import { createShell, listen } from '../http/support.ts';
import { createPlane, login, type Plane } from '../support/app.ts';
import { type OpenApiDocument, operationsOf, readDocument, refsOf, schemaName, validatorOf } from './support.ts';

/** Pages, what they are made of, and documents: no part of the API. The socket's handshake is described as a GET. */
const UNDESCRIBED = [
  'GET /',
  'GET /assets/*',
  'GET /openapi',
  'GET /openapi/json',
  'GET /openapi/assets/*',
  'GET /asyncapi',
  'WS /api/v1/ws',
];

let plane: Plane;
let node: App;
let document: OpenApiDocument;

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  document = await readDocument(node.url);
});
afterAll(() => plane.stop());

test('is valid OpenAPI 3.1', async () => {
  const result = await new Validator().validate(JSON.parse(JSON.stringify(document)));
  expect(result.errors ?? []).toEqual([]);
  expect(result.valid).toBe(true);
  expect(document).toMatchObject({ openapi: expect.stringMatching(/^3\.1\./), info: { title: 'decnet-live' } });
});

test('holds every route that is served, and nothing else', () => {
  const served = node.routes.map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`);
  const described = operationsOf(document).map(({ method, path }) => `${method} ${path}`);
  expect([...described, ...UNDESCRIBED].sort()).toEqual([...new Set(served)].sort());
});

test('no answer is checked while it is sent: that would cost every request, strip fields and refuse our own answers', () => {
  const checked = node.routes.filter(({ hooks }) => hooks?.response !== undefined);
  expect(checked.map(({ path }) => path)).toEqual([]);
});

test('says of every operation what it does, where it belongs and who may call it', () => {
  for (const { operationId, summary, tags, security, responses, parameters = [], path } of operationsOf(document)) {
    const what = { operationId, summary, tags, security };
    expect(what).toEqual({
      operationId,
      summary: expect.stringMatching(/\w{2}/),
      tags: [expect.stringMatching(new RegExp(`^(?:${Object.keys(TAGS).join('|')})$`))],
      security: expect.any(Array),
    });
    expect(Object.keys(responses)).toContain('500');
    const inPath = parameters.filter((parameter) => parameter.in === 'path').map(({ name }) => `{${name}}`);
    expect(inPath).toEqual(path.match(/\{\w+\}/g) ?? []);
  }
});

test('asks for nothing that has a default', () => {
  const publish = operationsOf(document).find(({ operationId }) => operationId === 'publishEvent');
  expect(publish?.requestBody?.content['application/json']).toMatchObject({
    schema: { required: ['topic', 'payload'], properties: { type: { default: '' } } },
  });
});

test('takes JSON only, and numbers of a query as numbers', () => {
  for (const { requestBody, operationId } of operationsOf(document)) {
    if (requestBody === undefined) continue;
    expect([operationId, ...Object.keys(requestBody.content)]).toEqual([operationId, 'application/json']);
  }
  const list = operationsOf(document).find(({ operationId }) => operationId === 'listIdentities');
  expect(list?.parameters).toContainEqual({
    name: 'limit',
    in: 'query',
    required: false,
    schema: { type: 'integer', minimum: 1, maximum: 1000, default: 50 },
  });
  const stream = operationsOf(document).find(({ operationId }) => operationId === 'streamEvents');
  expect(stream?.parameters?.map(({ name }) => name)).toEqual(['topics', 'Last-Event-ID', 'last_event_id', 'once']);
});

test('names shared schemas that are there, and none that nobody names', () => {
  const named = new Set(refsOf(document).map(schemaName));
  expect([...named].filter((name) => !Object.hasOwn(models, name))).toEqual([]);
  // Of the other document.
  named.add('MutationInFlight');
  expect(Object.keys(models).filter((name) => !named.has(name))).toEqual([]);
});

test('a failure looks as it is described', async () => {
  const validator = validatorOf(document);
  for (const developer of [false, true]) {
    const server = listen(createShell({ developer, throws: () => new Error('on purpose') }));
    const body: unknown = await (await fetch(`${server.url}/throws`)).json();
    server.stop();
    expect(validator.problems(['components', 'schemas', 'ServerError'], body)).toEqual([]);
  }
});

test('limits look as they are described', async () => {
  const limited = await plane.node({}, { DECNET_LIMITER_ENABLED: 'true', DECNET_SSE_MAX_PER_USER: '1' });
  await plane.token(limited.url);
  const token = await login(limited.url, 'admin-user');
  const problemsOf = async (path: string, method: string, response: Response) => {
    const body: unknown = await response.json();
    const pointer = ['paths', path, method, 'responses', response.status, 'content', 'application/json', 'schema'];
    return validatorOf(document).problems(pointer, body);
  };

  const stream = '/api/v1/identities/events';
  const init = { headers: { authorization: `Bearer ${token}` } };
  const open = await fetch(`${limited.url}${stream}`, init);
  const refused = await fetch(`${limited.url}${stream}`, init);
  expect(refused.status).toBe(429);
  expect(await problemsOf(stream, 'get', refused)).toEqual([]);
  await open.body?.cancel();

  const body = JSON.stringify({ username: 'nobody', password: 'wrong' });
  const signIn = () =>
    fetch(`${limited.url}/api/v1/auth/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
  let answer = await signIn();
  for (let tries = 0; tries < 20 && answer.status === 401; tries += 1) answer = await signIn();
  expect(answer.status).toBe(429);
  expect(await problemsOf('/api/v1/auth/login', 'post', answer)).toEqual([]);
});

test('a body that is too large is refused as it is described', async () => {
  const answer = await fetch(`${node.url}/api/v1/auth/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username: 'x'.repeat(2 * 1024 * 1024), password: 'x' }),
  });
  expect(answer.status).toBe(413);
  expect(await answer.text()).toBe('');
});

test('without Redis publishing is refused as it is described', async () => {
  const token = await plane.token(node.url);
  await plane.redis.stop();
  const answer = await fetch(`${node.url}/api/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ topic: 'attacker.seen', type: 'seen', payload: {} }),
  });
  expect(answer.status).toBe(503);
  const pointer = ['paths', '/api/v1/events', 'post', 'responses', 503, 'content', 'application/json', 'schema'];
  expect(validatorOf(document).problems(pointer, await answer.json())).toEqual([]);
  const probe = await fetch(`${node.url}/readyz`);
  expect(probe.status).toBe(503);
  const ready = ['paths', '/readyz', 'get', 'responses', 503, 'content', 'application/json', 'schema'];
  expect(validatorOf(document).problems(ready, await probe.json())).toEqual([]);
});
