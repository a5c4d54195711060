import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import type { Call } from './calls/call.ts';
import { CALLS } from './calls.ts';
import { type Located, operationsOf, readDocument, validatorOf } from './support.ts';
import { createWorld, type World } from './world.ts';

/** What nothing has. */
const NOTHING = 'no-such-thing';
/** Documented, and shown elsewhere: the limits and the failures of the whole, and what only a handshake gets. */
const ELSEWHERE = ['101', '413', '429', '500', '503'];
/** The same of one operation: a removal that is overtaken, in `tests/decky/deploy.test.ts`. */
const ELSEWHERE_OF: Readonly<Record<string, readonly string[]>> = { removeFleetDecky: ['409'] };

for (const engine of ENGINES) {
  describe(`answers (${engine})`, () => {
    let world: World;
    let operations: readonly Located[];
    let validator: ReturnType<typeof validatorOf>;

    beforeAll(async () => {
      world = await createWorld(engine);
      const document = await readDocument(world.node.url);
      operations = operationsOf(document);
      validator = validatorOf(document);
    });
    afterAll(() => world.plane.stop());

    test('every operation of the document is called here, and nothing that is none', () => {
      const described = operations.map(({ operationId }) => operationId).sort();
      expect(described).toEqual([...new Set(described)]);
      expect(Object.keys(CALLS).sort()).toEqual(described);
    });

    describe.each(Object.entries(CALLS))('%s', (id, calls) => {
      test('answers as the document says, and refuses what it says it refuses', async () => {
        const operation = operations.find(({ operationId }) => operationId === id);
        if (operation === undefined) throw new Error(`the document has no operation ${id}`);
        const seen = new Set<string>();
        for (const call of [...generalRefusals(operation, world), ...(await calls(world))]) {
          const response = await send(operation, call, world);
          const problems = await problemsOf(operation, response, validator);
          const what = { call: { ...call, token: undefined }, status: response.status, problems };
          expect(what).toEqual({ ...what, status: call.expect, problems: [] });
          seen.add(String(response.status));
        }
        const unseen = Object.keys(operation.responses).filter(
          (status) => !seen.has(status) && ![...ELSEWHERE, ...(ELSEWHERE_OF[id] ?? [])].includes(status),
        );
        // A viewer's route refuses only who has yet to change the password.
        expect(unseen.filter((status) => status !== '403' || isForAdmins(operation))).toEqual([]);
      });
    });
  });
}

/** No field of their bodies has to be there, and Elysia makes an object of a list before it looks: they take one for nothing. */
const ASKING_NOTHING = [
  'rotateServiceAccount',
  'changeServiceAccount',
  'changeWebhook',
  'rotateWebhookSecret',
  'previewWebhook',
];

const isForAdmins = ({ description = '' }: Located) => description.includes('Admins only');

/** What follows from who may call it, and from its having a body. */
function generalRefusals(operation: Located, world: World): Call[] {
  const { operationId, security = [], requestBody } = operation;
  const body = requestBody === undefined ? {} : { body: {} };
  return [
    ...(security.length === 0 ? [] : [{ ...body, token: 'no.such.token', expect: 401 }]),
    ...(isForAdmins(operation) ? [{ ...body, token: world.viewer, expect: 403 }] : []),
    ...(requestBody?.required === true ? [{ expect: 400 }] : []),
    ...(requestBody === undefined || ASKING_NOTHING.includes(operationId) ? [] : [{ body: [], expect: 422 }]),
    ...(requestBody === undefined ? [] : [{ body: {}, headers: { 'content-type': 'text/plain' }, expect: 415 }]),
  ];
}

function send({ method, path }: Located, call: Call, world: World): Promise<Response> {
  const { params = {}, query, headers, body, token = world.admin, isWithoutSlash = false } = call;
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(params[name] ?? NOTHING));
  const address = `${world.node.url}${isWithoutSlash ? filled.slice(0, -1) : filled}`;
  return fetch(query === undefined ? address : `${address}?${query}`, {
    method,
    redirect: 'manual',
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

/** How an answer differs from what the document says of it. */
async function problemsOf(
  { path, method, responses }: Located,
  response: Response,
  validator: ReturnType<typeof validatorOf>,
): Promise<string[]> {
  const text = await response.text();
  const { status } = response;
  const described = responses[status];
  if (described === undefined) return [`the document does not know status ${status}: ${text.slice(0, 200)}`];
  const type = response.headers.get('content-type')?.split(';')[0] ?? '';
  if (described.content === undefined)
    return text === '' ? [] : [`a body that is not described: ${text.slice(0, 200)}`];
  if (!(type in described.content)) return [`the document does not know type '${type}' of ${status}`];
  const value: unknown = type === 'application/json' ? JSON.parse(text) : text;
  return validator.problems(
    ['paths', path, method.toLowerCase(), 'responses', status, 'content', type, 'schema'],
    value,
  );
}
