import { readFileSync } from 'node:fs';
import { describeError } from '../errors.ts';
import { CliError } from './cli-error.ts';
import { readLogins } from './credentials.ts';

/** What every command takes. */
export interface CommonOptions {
  readonly url?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly json?: boolean | undefined;
}

const DEFAULT_URL = 'http://127.0.0.1:8000';

/**
 * The origin of the server: `--url`, `DECNET_URL`, the newest sign-in, or one on this machine.
 * @throws {CliError} `usage`
 */
export function serverUrl({ url }: CommonOptions): string {
  const text = url ?? (process.env.DECNET_URL || undefined) ?? readLogins()[0]?.url ?? DEFAULT_URL;
  const parsed = URL.canParse(text) ? new URL(text) : undefined;
  const isServer = parsed !== undefined && /^https?:$/.test(parsed.protocol) && parsed.pathname === '/';
  if (!isServer || parsed.search !== '' || parsed.username !== '' || parsed.password !== '') {
    throw new CliError('usage', 'the URL must be like https://decnet.example.net: scheme, host and port, nothing else');
  }
  return parsed.origin;
}

/**
 * Whose token is used: that of `--token-file`, of `DECNET_TOKEN`, or of the sign-in at this server.
 * @throws {CliError} `unauthenticated`; `usage` when the file cannot be used
 */
export function tokenFor(url: string, { tokenFile }: CommonOptions): string {
  const token = tokenFile === undefined ? (process.env.DECNET_TOKEN ?? '').trim() : tokenIn(tokenFile);
  const found = token || readLogins().find((login) => login.url === url)?.token;
  if (found === undefined) {
    throw new CliError('unauthenticated', `nobody is signed in at ${url}: run decnet-live login, or set DECNET_TOKEN`);
  }
  // A header holds no other characters, and an error message of the platform would repeat them.
  if (!/^[\x21-\x7e]+$/.test(found)) throw new CliError('usage', 'the token holds characters that none of ours has');
  return found;
}

function tokenIn(file: string): string {
  try {
    const token = readFileSync(file, 'utf8').trim();
    if (token !== '') return token;
  } catch (error) {
    throw new CliError('usage', `the token file cannot be read: ${describeError(error)}`);
  }
  throw new CliError('usage', `the token file ${file} is empty`);
}
