import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import type { App } from '../../src/main.ts';
import { ADMIN } from '../support/app.ts';
import { until } from '../support/until.ts';

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** The machine's own Chromium. */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: process.env.TEST_CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
}

/**
 * A tab, signed in, that shows the stream of a topology.
 * @param owner a browser gives each tab a profile of its own; the tabs of a context share one
 */
export async function openTab(
  owner: Browser | BrowserContext,
  node: Pick<App, 'url'>,
  username: string,
  topologyId: string,
): Promise<Page> {
  const page = await owner.newPage();
  await page.goto(node.url);
  await page.getByLabel('User name').fill(username);
  await page.getByLabel('Password', { exact: true }).fill(ADMIN.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByTestId('stream-choice').selectOption(topologyId);
  return page;
}

export async function untilState(page: Page, state: string): Promise<void> {
  await page.waitForSelector(`[data-testid=state][data-state=${state}]`);
}

export async function numberIn(page: Page, testId: string): Promise<number> {
  return Number(await page.getByTestId(testId).textContent());
}

export async function untilNumber(page: Page, testId: string, wanted: number): Promise<void> {
  await until(`${testId} to be ${wanted}`, async () => (await numberIn(page, testId)) === wanted);
}
