import type { App } from '../../src/main.ts';
import { call } from './app.ts';

export interface TestAccount {
  readonly uuid: string;
  readonly name: string;
  readonly secret: string;
}

/** A service account that an administrator makes: publishes and sees everything that accounts may, unless told otherwise. */
export async function newAccount(node: Pick<App, 'url'>, admin: string, rights: object = {}): Promise<TestAccount> {
  const body = { name: `account-${crypto.randomUUID()}`, publish: ['>'], subscribe: ['>'], ...rights };
  const response = await call(node.url, admin, 'POST', '/service-accounts', body);
  if (response.status !== 201) throw new Error(`an account was answered by ${response.status}`);
  return JSON.parse(await response.text());
}
