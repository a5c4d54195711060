import { describe, expect, test } from 'bun:test';
import { startOutside } from '../../src/outside/start.ts';
import { OUTSIDE_READS, OUTSIDE_WRITES } from '../../src/outside/table.ts';
import { send } from '../decky/support.ts';
import { asAdmin, asViewer, authenticator, shell } from '../topology/support.ts';

const app = shell().use(startOutside({ authenticator }).routes);
const ask = async (method: string, path: string, headers: Record<string, string> = asAdmin, body?: unknown) => {
  const response = await app.handle(send(method, path, body, headers));
  return { status: response.status, body: JSON.parse(await response.text()) };
};

/** The table of contract P9 with the queries that the pages send. */
const EMPTY = { total: 0, limit: 50, offset: 0, data: [] };
const ANSWERS: readonly [path: string, role: 'viewer' | 'admin', status: number, body: unknown][] = [
  ['/bounty?limit=20&offset=40&bounty_type=&search=', 'viewer', 200, { ...EMPTY, limit: 20, offset: 40 }],
  ['/credentials', 'viewer', 200, EMPTY],
  ['/credential-reuse?min_target_count=2', 'viewer', 200, EMPTY],
  ['/credential-reuse/x', 'viewer', 404, { detail: expect.any(String) }],
  ['/canary/tokens?decky_name=a', 'viewer', 200, { tokens: [], total: 0 }],
  ['/canary/blobs', 'admin', 200, { blobs: [], total: 0 }],
  ['/canary/tokens/x/triggers?limit=100', 'viewer', 404, { detail: expect.any(String) }],
  ['/canary/tokens/x/preview', 'admin', 404, { detail: expect.any(String) }],
  ['/realism/personas', 'viewer', 200, { path: '', personas: [] }],
  ['/realism/synthetic-files?limit=500', 'viewer', 200, { ...EMPTY, limit: 500 }],
  ['/realism/synthetic-files/x', 'viewer', 404, { detail: expect.any(String) }],
  [
    '/realism/config',
    'viewer',
    200,
    { user_class_weights: [], system_class_weights: [], canary_class_weights: [], canary_probability: 0.03 },
  ],
  [
    '/realism/llm',
    'viewer',
    200,
    { provider: 'ollama', base_url: null, model: 'llama3.1', timeout: 60, api_key_set: false },
  ],
  ['/swarm/hosts?host_status=active', 'admin', 200, []],
  ['/swarm/deckies', 'admin', 200, []],
  ['/swarm-updates/hosts', 'admin', 200, { hosts: [] }],
  ['/ttp/rules', 'viewer', 200, []],
  ['/ttp/by-identity/x', 'viewer', 200, []],
  ['/ttp/by-attacker/x', 'viewer', 200, []],
  ['/ttp/by-session/x', 'viewer', 200, []],
  ['/transcripts/web/0a-1', 'viewer', 404, { detail: expect.any(String) }],
  ['/transcripts/web/a.b', 'viewer', 400, { detail: expect.any(String) }],
  ['/artifacts/web/2026-11-21T12:00:00Z_0123456789ab_x.bin', 'admin', 404, { detail: expect.any(String) }],
  ['/artifacts/web/..%2Fpasswd', 'admin', 400, { detail: expect.any(String) }],
];

describe('reads', () => {
  test.each(ANSWERS)('GET %s', async (path, role, status, body) => {
    expect(await ask('GET', path)).toEqual({ status, body });
    expect((await ask('GET', path, asViewer)).status).toBe(role === 'viewer' ? status : 403);
    expect((await ask('GET', path, {})).status).toBe(401);
  });

  test.each([
    '/bounty?limit=0',
    '/bounty?limit=1001',
    '/bounty?limit=x',
    '/credentials?offset=-1',
    '/realism/synthetic-files?limit=501',
    '/credential-reuse?min_target_count=1',
    '/transcripts/web/a?limit=5001',
  ])('GET %s is refused', async (path) => {
    expect((await ask('GET', path)).status).toBe(422);
  });
});

describe('writes', () => {
  test.each(OUTSIDE_WRITES.map(({ method, path }) => [method, path.replaceAll(/:\w+/g, 'x')] as const))(
    '%s %s says that it is not done here, to those who might',
    async (method, path) => {
      const body = method === 'DELETE' ? undefined : {};
      const refusal = await ask(method, path, asAdmin, body);
      expect(refusal).toEqual({ status: 501, body: { detail: expect.stringContaining('does not') } });
      expect((await ask(method, path, asViewer, body)).status).toBe(403);
      expect((await ask(method, path, {}, body)).status).toBe(401);
    },
  );

  test.each(['/canary/blobs', '/deckies/files'])('a form with files is refused in the same words: %s', async (path) => {
    const form = new FormData();
    form.set('file', new Blob(['x']), 'x.bin');
    const request = new Request(`http://localhost/api/v1${path}`, { method: 'POST', body: form, headers: asAdmin });
    request.headers.set('content-length', '200');
    expect((await app.handle(request)).status).toBe(501);
  });
});

test('no path is there twice', () => {
  const all = [
    ...OUTSIDE_READS.map(({ path }) => `GET ${path}`),
    ...OUTSIDE_WRITES.map((row) => `${row.method} ${row.path}`),
  ];
  expect(new Set(all).size).toBe(all.length);
});
