import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { isJsonObject } from '../bus/event.ts';
import { describeError } from '../errors.ts';
import { CliError } from './cli-error.ts';

/** A stored sign-in. A token goes to the server that issued it and to no other. */
export interface Login {
  /** Origin of the server. */
  readonly url: string;
  readonly username: string;
  readonly token: string;
}

/** Where sign-ins are kept: `$XDG_CONFIG_HOME/decnet-live/logins.json`. */
export function loginsFile(env: NodeJS.ProcessEnv = process.env): string {
  const home = env.XDG_CONFIG_HOME?.startsWith('/') ? env.XDG_CONFIG_HOME : join(homedir(), '.config');
  return join(home, 'decnet-live', 'logins.json');
}

/** All of them, the newest first. */
export function readLogins(file = loginsFile()): Login[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (isMissing(error)) return [];
    throw new CliError('usage', `${file} cannot be read: ${describeError(error)}`);
  }
  try {
    const found: unknown = JSON.parse(text);
    if (Array.isArray(found)) return found.filter(isLogin);
  } catch {
    // Said below, for all that is none of ours.
  }
  throw new CliError('usage', `${file} is damaged: remove it and sign in again`);
}

/** Stores one, in the place of another for the same server. Nobody but this user can read it. */
export function storeLogin(login: Login, file = loginsFile()): void {
  write(file, [login, ...readLogins(file).filter(({ url }) => url !== login.url)]);
}

/** @returns what was stored for the server */
export function removeLogin(url: string, file = loginsFile()): Login | undefined {
  const logins = readLogins(file);
  const found = logins.find((login) => login.url === url);
  if (found !== undefined)
    write(
      file,
      logins.filter((login) => login !== found),
    );
  return found;
}

function write(file: string, logins: readonly Login[]): void {
  const folder = dirname(file);
  // Beside it and then in its place: a crash leaves the old one or the new one.
  const draft = `${file}.${process.pid}`;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (logins.length === 0) return rmSync(file, { force: true });
    rmSync(draft, { force: true });
    writeFileSync(draft, `${JSON.stringify(logins, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
    chmodSync(draft, 0o600);
    renameSync(draft, file);
  } catch (error) {
    throw new CliError('usage', `${file} cannot be written: ${describeError(error)}`);
  }
}

function isLogin(value: unknown): value is Login {
  return isJsonObject(value) && [value.url, value.username, value.token].every((field) => typeof field === 'string');
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
