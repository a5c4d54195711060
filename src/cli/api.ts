import { isJsonObject, type JsonObject } from '../bus/event.ts';
import { describeError } from '../errors.ts';
import { CliError } from './cli-error.ts';
import type { ExitName } from './exit-codes.ts';
import { type CommonOptions, serverUrl, tokenFor } from './settings.ts';

/** A request that is not answered by then has failed, in milliseconds. */
const LIMIT_MS = 30_000;

const EXITS: Readonly<Record<number, ExitName>> = {
  401: 'unauthenticated',
  403: 'forbidden',
  502: 'unreachable',
  503: 'unreachable',
  504: 'unreachable',
};

/** The server's HTTP API, as one user. */
export class Api {
  readonly url: string;
  readonly #token: string | undefined;

  /** @param token absent for what needs none */
  constructor(url: string, token?: string) {
    this.url = url;
    this.#token = token;
  }

  /** The token; empty without one. */
  get bearer(): string {
    return this.#token ?? '';
  }

  get headers(): Record<string, string> {
    return this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` };
  }

  /**
   * @param path below `/api/v1`
   * @returns the JSON of the answer; `undefined` for one without a body
   * @throws {CliError} for any answer that is no success
   */
  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await this.fetch(`/api/v1${path}`, {
      method,
      headers: { ...this.headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(LIMIT_MS),
    });
    const text = await response.text();
    if (!response.ok) throw refusal(response, text);
    return text === '' ? undefined : parse(text);
  }

  /** The same for what answers an object. */
  async object(method: string, path: string, body?: unknown): Promise<JsonObject> {
    const answer = await this.call(method, path, body);
    if (isJsonObject(answer)) return answer;
    throw new CliError('failed', `${this.url} does not answer as decnet-live does: is the URL right?`);
  }

  /**
   * @param path from the root
   * @throws {CliError} `unreachable`
   */
  async fetch(path: string, init: BunFetchRequestInit = {}): Promise<Response> {
    try {
      // Not followed: the token is for this server alone.
      const response = await fetch(`${this.url}${path}`, { ...init, redirect: 'manual' });
      if (response.status < 300 || response.status >= 400) return response;
    } catch (error) {
      throw new CliError('unreachable', `${this.url} cannot be reached: ${describeError(error)}`);
    }
    throw new CliError('usage', `${this.url} sends us elsewhere: give the server's own URL`);
  }
}

/** The API as whoever the options, the environment or the stored sign-in name. */
export function signedIn(options: CommonOptions): Api {
  const url = serverUrl(options);
  return new Api(url, tokenFor(url, options));
}

/** What a refusing answer says. */
export function refusal(response: Response, text: string): CliError {
  const exit = EXITS[response.status] ?? 'failed';
  const detail = detailOf(text);
  const hint = exit === 'unauthenticated' ? '; sign in by decnet-live login' : '';
  return new CliError(exit, `${detail ?? 'the server gave no reason'} (HTTP ${response.status})${hint}`);
}

function detailOf(text: string): string | undefined {
  const body = parse(text);
  if (!isJsonObject(body)) return undefined;
  const detail = body.detail ?? body.error;
  return typeof detail === 'string' ? detail.slice(0, 500) : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
