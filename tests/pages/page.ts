import type { App } from '../../src/main.ts';
import { call } from '../support/app.ts';

/** One answer to a page. */
export interface PageAnswer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: a page reads whatever there is, and a test says what that has to be
  readonly body: any;
}

/** What a page of the dashboard does: requests in its user's name. Each answer must be JSON, or empty. */
export function pageOf(node: Pick<App, 'url'>, token: string) {
  return async (method: string, path: string, body?: unknown): Promise<PageAnswer> => {
    const response = await call(node.url, token, method, path, body);
    const text = await response.text();
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
  };
}

export type Page = ReturnType<typeof pageOf>;

/** What a page asks for when it is opened: each must be answered by 200. @returns the bodies */
export async function openPage(page: Page, paths: readonly string[]): Promise<PageAnswer['body'][]> {
  const answers = await Promise.all(paths.map(async (path) => [path, await page('GET', path)] as const));
  for (const [path, { status, body }] of answers) {
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${JSON.stringify(body)}`);
  }
  return answers.map(([, { body }]) => body);
}
