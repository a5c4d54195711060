import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createShell, listen, ORIGIN, STRANGER } from './support.ts';

let server: ReturnType<typeof listen>;
beforeAll(() => {
  server = listen(createShell({ throws: () => new Error('on purpose') }));
});
afterAll(() => server.stop());

const call = (path: string, init: RequestInit & { origin?: string } = {}) =>
  fetch(`${server.url}${path}`, {
    ...init,
    headers: {
      ...(init.origin === undefined ? {} : { origin: init.origin }),
      ...Object.fromEntries(new Headers(init.headers)),
    },
  });

describe('a body of a POST, PUT or PATCH', () => {
  const UNSUPPORTED = 'Unsupported Media Type — Content-Type must be application/json';

  test.each([
    ['text/plain', 415],
    ['application/x-www-form-urlencoded', 415],
    ['multipart/form-data; boundary=x', 415],
    ['text/json', 415],
    ['application/json', 200],
    ['application/json; charset=utf-8', 200],
    ['Application/JSON', 200],
    ['APPLICATION/JSON;charset=UTF-8', 200],
  ])('of type %s: %i', async (type, status) => {
    const response = await call('/known', {
      method: 'POST',
      headers: { 'content-type': type },
      body: '{"name":"abc"}',
    });
    expect(response.status).toBe(status);
    if (status !== 415) return;
    expect(response.headers.get('content-type')).toStartWith('text/plain');
    expect(await response.text()).toBe(UNSUPPORTED);
  });

  test('that is no JSON is refused whatever the case of its type', async () => {
    for (const type of ['application/json', 'Application/Json']) {
      const response = await call('/known', { method: 'POST', headers: { 'content-type': type }, body: '{"name":' });
      expect(response.status).toBe(422);
    }
  });

  test.each(['POST', 'PUT', 'PATCH'])('is judged before routing: %s of an unknown path', async (method) => {
    const init = { method, headers: { 'content-type': 'text/plain' }, body: 'x' };
    expect((await call('/unknown', init)).status).toBe(415);
  });

  test('sent in chunks without a length is a body too', async () => {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('x'));
        controller.close();
      },
    });
    const response = await call('/known', { method: 'POST', headers: { 'content-type': 'text/plain' }, body });
    expect(response.status).toBe(415);
  });

  test('that is empty passes, and so does that of another method', async () => {
    expect((await call('/unknown', { method: 'POST' })).status).toBe(404);
    const init = { method: 'DELETE', headers: { 'content-type': 'text/plain' }, body: 'x' };
    expect((await call('/unknown', init)).status).toBe(404);
  });
});

describe('cross-origin requests', () => {
  const preflight = (origin: string) =>
    call('/known', { method: 'OPTIONS', origin, headers: { 'access-control-request-method': 'POST' } });

  test('a preflight of a listed origin is told what is allowed (contract §4.6)', async () => {
    const response = await preflight(ORIGIN);
    expect(response.status).toBe(200);
    expect(await response.text()).toBe('OK');
    const header = (name: string) => response.headers.get(`access-control-${name}`);
    expect(header('allow-origin')).toBe(ORIGIN);
    expect(header('allow-methods')?.split(', ').sort()).toEqual(['DELETE', 'GET', 'OPTIONS', 'PATCH', 'POST', 'PUT']);
    expect(header('allow-headers')?.split(', ').sort()).toEqual(['Authorization', 'Content-Type', 'Last-Event-ID']);
    expect(header('max-age')).toBe('600');
    // Streams take no cookies of other sites.
    expect(header('allow-credentials')).toBeNull();
    expect(response.headers.get('vary')).toContain('Origin');
  });

  test('a preflight of any other origin is refused', async () => {
    for (const origin of [
      STRANGER,
      'constructor',
      `${ORIGIN}.evil.org`,
      ORIGIN.replace('https', 'http'),
      `${ORIGIN}:8443`,
      'null',
    ]) {
      const response = await preflight(origin);
      expect(response.status).toBe(400);
      expect(await response.text()).toBe('Disallowed CORS origin');
      expect(response.headers.get('access-control-allow-origin')).toBeNull();
    }
  });

  test('OPTIONS that is no preflight is a request like any other', async () => {
    expect((await call('/unknown', { method: 'OPTIONS', origin: ORIGIN })).status).toBe(404);
  });

  const answers: readonly [string, number, string, RequestInit][] = [
    ['an answer', 200, '/known', {}],
    ['a response made by hand', 200, '/response', {}],
    ['an unknown path', 404, '/unknown', {}],
    ['a wrong method', 405, '/known', { method: 'DELETE' }],
    ['a failure', 500, '/throws', {}],
    ['a bad body', 400, '/known', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' }],
    ['a foreign body', 415, '/known', { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'x' }],
  ];

  test.each(answers)('%s (%i) can be read by a listed origin, and by no other', async (_what, status, path, init) => {
    const listed = await call(path, { ...init, origin: ORIGIN });
    expect(listed.status).toBe(status);
    expect(listed.headers.get('access-control-allow-origin')).toBe(ORIGIN);
    expect(listed.headers.get('access-control-expose-headers')).toBe('Retry-After, Content-Disposition');
    expect(listed.headers.get('access-control-allow-credentials')).toBeNull();
    for (const origin of [STRANGER, undefined]) {
      const response = await call(path, { ...init, ...(origin === undefined ? {} : { origin }) });
      expect(response.status).toBe(status);
      expect(response.headers.get('access-control-allow-origin')).toBeNull();
      // A cache must not hand the answer for one origin to another.
      expect(response.headers.get('vary')).toContain('Origin');
    }
  });

  test('the headers of a response made by hand are kept', async () => {
    expect((await call('/response', { origin: ORIGIN })).headers.get('x-own')).toBe('kept');
  });
});
