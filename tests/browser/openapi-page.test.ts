import { afterAll, beforeAll, expect, test } from 'bun:test';
import type { Browser } from 'playwright-core';
import type { App } from '../../src/main.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';
import { launchChromium } from './support.ts';

let plane: Plane;
let node: App;
let browser: Browser;

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await plane.stop();
});

test('the page of the API needs nothing but its own server: it shows the operations, and calls one', async () => {
  const page = await browser.newPage();
  const [foreign, problems]: [string[], string[]] = [[], []];
  await page.route('**', (route) => {
    const url = route.request().url();
    if (url.startsWith(node.url)) return route.continue();
    foreign.push(url);
    return route.abort();
  });
  page.on('console', (line) => {
    if (line.type() === 'error') problems.push(line.text());
  });
  page.on('pageerror', (error) => problems.push(error.message));

  await page.goto(`${node.url}/openapi`);
  const login = page.locator('#operations-session-login');
  await login.waitFor();
  expect(await login.textContent()).toContain('Sign in with a name and a password');
  // Of many operations it draws those that are in sight; the last of all is one of health.
  const seen = new Set<string>();
  const health = page.locator('#operations-health-readLiveness');
  await until('the last operation', async () => {
    for (const id of await page.locator('.opblock').evaluateAll((drawn) => drawn.map((one) => one.id))) seen.add(id);
    await page.mouse.wheel(0, 1000);
    return health.isVisible();
  });
  expect(seen.size).toBeGreaterThan(40);
  await health.locator('.opblock-summary-control').click();
  await health.getByRole('button', { name: 'Try it out' }).click();
  await health.getByRole('button', { name: 'Execute' }).click();
  await health.locator('.live-responses-table .response').waitFor();
  expect(await health.locator('.live-responses-table .response').textContent()).toContain('"status": "ok"');

  expect(foreign.filter((url) => !url.startsWith('data:'))).toEqual([]);
  expect(problems).toEqual([]);
}, 60_000);

test('what the page is made of is named, not chosen by the path', async () => {
  for (const name of ['index.html', '..%2fpackage.json', '__proto__', 'swagger-ui-bundle.js.map']) {
    expect((await fetch(`${node.url}/openapi/assets/${name}`)).status).toBe(404);
  }
});
