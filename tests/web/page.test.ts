import { beforeAll, describe, expect, test } from 'bun:test';
import { tmpdir } from 'node:os';
import { Elysia } from 'elysia';
import { errorHandling } from '../../src/http/errors.ts';
import { requestRules } from '../../src/http/request-rules.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { pageRoutes } from '../../src/web/page.ts';

let get: (path: string) => Promise<Response>;
let markup = '';
let assets: string[] = [];

beforeAll(async () => {
  const log = createLog('error');
  const app = new Elysia()
    .use(requestRules([]))
    .use(errorHandling(log, { developer: false, methodsOf: () => [] }))
    .use(await pageRoutes());
  get = (path) => Promise.resolve(app.handle(new Request(`http://localhost${path}`)));
  markup = await (await get('/')).text();
  assets = [...markup.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, path = '']) => path);
});

describe('the document', () => {
  test('is HTML that is checked for a newer version each time', async () => {
    const response = await get('/');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toMatch(/^text\/html\b/);
    expect(response.headers.get('cache-control')).toBe('no-cache');
  });

  test('allows nothing but its own scripts, styles and calls', async () => {
    const { headers } = await get('/');
    const policy = (headers.get('content-security-policy') ?? '').split('; ').sort();
    expect(policy).toEqual(
      [
        "base-uri 'none'",
        "connect-src 'self'",
        "default-src 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "img-src 'self' data:",
        "script-src 'self'",
        "style-src 'self'",
      ].sort(),
    );
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('referrer-policy')).toBe('no-referrer');
  });

  test('has nothing in it that this policy would block', () => {
    for (const [script] of markup.matchAll(/<script\b[^>]*>/g)) expect(script).toContain('src="/assets/');
    expect(markup).not.toMatch(/<style\b|\sstyle=|\son[a-z]+=/);
    expect(markup).not.toMatch(/(?:src|href)="(?:https?:)?\/\//);
  });
});

describe('assets', () => {
  test('are one script and one style sheet, named by their content', () => {
    const kinds = assets.map((path) => /^\/assets\/[0-9a-f]{16}\/index\.(js|css)$/.exec(path)?.[1]);
    expect(kinds.toSorted()).toEqual(['css', 'js']);
  });

  test('may be kept for ever and are what they say', async () => {
    expect(assets).not.toBeEmpty();
    for (const path of assets) {
      const response = await get(path);
      expect(response.status).toBe(200);
      expect(response.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
      expect(response.headers.get('x-content-type-options')).toBe('nosniff');
      expect(response.headers.get('content-type')).toMatch(path.endsWith('.js') ? /^text\/javascript/ : /^text\/css/);
      expect(await response.text()).not.toBeEmpty();
    }
  });

  test('are served again and again', async () => {
    const [path = ''] = assets;
    const first = await (await get(path)).text();
    expect(await (await get(path)).text()).toBe(first);
  });

  test.each([
    '/assets/',
    '/assets/index.js',
    '/assets/index.html',
    '/assets/..%2findex.html',
    '/assets/0000000000000000/index.js',
  ])('answer 404 to %s', async (path) => {
    const response = await get(path);
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({ detail: 'Not Found' });
    expect(response.headers.get('cache-control') ?? '').not.toContain('immutable');
  });
});

test('is built alike from any working directory, so that nodes behind one address agree on the names', async () => {
  const script = `
    const { buildPage } = await import(${JSON.stringify(import.meta.resolve('../../src/web/page.ts'))});
    const page = await buildPage();
    console.log(await page.respond('/').text());
  `;
  const child = Bun.spawn([process.execPath, '-e', script], { cwd: tmpdir(), stdout: 'pipe', stderr: 'inherit' });
  expect((await new Response(child.stdout).text()).trim()).toBe(markup.trim());
  expect(await child.exited).toBe(0);
});
