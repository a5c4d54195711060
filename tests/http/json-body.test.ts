import { afterAll, beforeAll, expect, test } from 'bun:test';
import { MAX_BODY_DEPTH, MAX_BODY_VALUES } from '../../src/http/json-body.ts';
import { listen } from './support.ts';

let server: ReturnType<typeof listen>;
beforeAll(() => {
  server = listen();
});
afterAll(() => server.stop());

async function post(body: string | Uint8Array<ArrayBuffer>, type = 'application/json') {
  const response = await fetch(`${server.url}/known`, { method: 'POST', headers: { 'content-type': type }, body });
  return { status: response.status, body: await response.json() };
}

/** A body in which `more` nests so deep as a whole. */
const nested = (depth: number, open = '[', close = ']') =>
  `{"name":"abc","more":${open.repeat(depth - 1)}1${close.repeat(depth - 1)}}`;

const accepted = { status: 200, body: { name: 'abc' } };
const tooDeep = {
  status: 422,
  body: { detail: `The body may nest at most ${MAX_BODY_DEPTH} levels of objects and lists; flatten it` },
};

test.each([
  ['lists', '[', ']'],
  ['objects', '{"a":', '}'],
  ['both, with white space', '[ {\n"a" : ', '} ]'],
])('%s may nest as deep as the limit and no deeper', async (_what, open, close) => {
  const levels = open.includes('{') && open.includes('[') ? 2 : 1;
  const count = Math.floor((MAX_BODY_DEPTH - 1) / levels);
  expect(await post(nested(count + 1, open, close))).toEqual(accepted);
  expect(await post(nested(count + 3, open, close))).toEqual(tooDeep);
});

test('what is too deep is refused whatever the case of its type, and before it is found to be no JSON', async () => {
  expect(await post(nested(40_000), 'Application/JSON; charset=utf-8')).toEqual(tooDeep);
  expect(await post('['.repeat(1_000_000))).toEqual(tooDeep);
  expect(server.lines).toEqual([]);
});

test('a body may hold so many values and no more: what parses and validates them stops the process', async () => {
  // The body itself and its list are values, too, and so is the name.
  const list = (count: number) => `{"name":"abc","more":[${'1,'.repeat(count - 1)}1]}`;
  expect(await post(list(MAX_BODY_VALUES - 10))).toEqual(accepted);
  const refused = {
    status: 422,
    body: { detail: `The body may hold at most ${MAX_BODY_VALUES} values; send less, or split it` },
  };
  expect(await post(list(MAX_BODY_VALUES))).toEqual(refused);
  expect(await post(`{"name":"abc","more":[${'{},'.repeat(MAX_BODY_VALUES / 2)}{}]}`)).toEqual(refused);
});

test('brackets in strings are text, after escapes too, and those that were closed do not count', async () => {
  const brackets = '['.repeat(200);
  expect(await post(`{"name":"abc","a":"${brackets}","b":"\\"${brackets}\\\\","c":"é${brackets}"}`)).toEqual(accepted);
  expect(await post(`{"name":"abc","a":[${'[],{},'.repeat(500)}[]]}`)).toEqual(accepted);
  // A quote that is escaped by an escaped backslash does end the string.
  expect(await post(`{"name":"abc","a":"\\\\","b":${'['.repeat(200)}${']'.repeat(200)}}`)).toEqual(tooDeep);
});

test.each(['"', '"\\', '{"a":"\\', '[', ']]]]', '{"name":"abc"'])('%s, cut off, is no JSON', async (body) => {
  expect(await post(body)).toEqual({ status: 422, body: { detail: 'Invalid request parameters' } });
});

test('bytes that are no UTF-8 are refused, not replaced', async () => {
  const bytes = new Uint8Array([...new TextEncoder().encode('{"name":"ab'), 0xff, 0x22, 0x7d]);
  expect(await post(bytes)).toEqual({ status: 422, body: { detail: 'The body must be UTF-8' } });
});
