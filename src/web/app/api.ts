import { isRecord, type JsonRecord, numberField, parseJson, recordsField, textField } from './json.ts';
import type { MutationOp, TopologyNames } from './mutations.ts';

/** Where the API is. */
export const API_BASE = '/api/v1';

/** A call that did not succeed, in the server's words. */
export class ApiError extends Error {
  /** The HTTP status; 0 when the server could not be reached. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
  }
}

/** What to tell the user about anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof ApiError ? error.message : 'Something went wrong in this page.';
}

/** A topology as the list shows it. */
export interface TopologySummary {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly version: number;
}

/** What signing in gives. */
export interface Session {
  readonly token: string;
  readonly mustChangePassword: boolean;
}

/** The routes of the API that the page uses. Every method throws {@link ApiError}. */
export class Api {
  readonly #onUnauthorized: () => void;
  /** The access token of who is signed in. */
  token: string | undefined;

  /** @param onUnauthorized called when the server no longer takes the token */
  constructor(onUnauthorized: () => void) {
    this.#onUnauthorized = onUnauthorized;
  }

  async login(username: string, password: string): Promise<Session> {
    const body = await this.#call('POST', '/auth/login', { username, password });
    return {
      token: required(textField(body, 'access_token')),
      mustChangePassword: body.must_change_password === true,
    };
  }

  /** @param token of the session whose password changes; it ends with the change */
  async changePassword(token: string, oldPassword: string, newPassword: string): Promise<void> {
    const passwords = { old_password: oldPassword, new_password: newPassword };
    await this.#call('POST', '/auth/change-password', passwords, token);
  }

  async logout(): Promise<void> {
    await this.#authorized('POST', '/auth/logout');
  }

  /** A single-use credential for opening a stream; good for 60 seconds. */
  async mintTicket(): Promise<string> {
    return required(textField(await this.#authorized('POST', '/auth/sse-ticket'), 'ticket'));
  }

  async role(): Promise<string | undefined> {
    return textField(await this.#authorized('GET', '/config'), 'role');
  }

  async topologies(): Promise<TopologySummary[]> {
    const body = await this.#authorized('GET', '/topologies/?limit=500');
    return recordsField(body, 'data').map((row) => ({
      id: required(textField(row, 'id')),
      name: textField(row, 'name') ?? '',
      status: textField(row, 'status') ?? '',
      version: numberField(row, 'version') ?? 0,
    }));
  }

  async topologyNames(topologyId: string): Promise<TopologyNames> {
    const body = await this.#authorized('GET', `/topologies/${encodeURIComponent(topologyId)}`);
    const names = (list: string) =>
      recordsField(body, list).flatMap((row) => {
        const name = textField(row, 'name');
        return name === undefined ? [] : [name];
      });
    return { deckies: names('deckies'), lans: names('lans') };
  }

  /**
   * @param expectedVersion refuse when the topology has another version by now
   * @returns the id of the accepted mutation and its state
   */
  async enqueue(
    topologyId: string,
    op: MutationOp,
    payload: unknown,
    expectedVersion: number | undefined,
  ): Promise<{ mutationId: string; state: string }> {
    const path = `/topologies/${encodeURIComponent(topologyId)}/mutations`;
    const body = { op, payload, ...(expectedVersion === undefined ? {} : { expected_version: expectedVersion }) };
    const answer = await this.#authorized('POST', path, body);
    return { mutationId: required(textField(answer, 'mutation_id')), state: textField(answer, 'state') ?? '' };
  }

  /**
   * Asks the server to drop the caller's own streams at the socket, without a farewell.
   * @returns how many it dropped
   */
  async cutStreams(): Promise<number> {
    return numberField(await this.#authorized('POST', '/streams/cut'), 'cut') ?? 0;
  }

  /**
   * Asks for a stream as an `EventSource` would, which hides from the page why it was refused; one that is granted is let
   * go at once. Rejects with the refusal.
   * @param path of the stream, with its query
   */
  async tryStream(path: string): Promise<void> {
    const { token } = this;
    await this.#watchSession(token, async () => {
      const response = await this.#fetch('GET', path, undefined, token);
      if (response.ok) await response.body?.cancel();
      else await answerOf(response);
    });
  }

  async #authorized(method: string, path: string, body?: JsonRecord): Promise<JsonRecord> {
    const { token } = this;
    return this.#watchSession(token, () => this.#call(method, path, body, token));
  }

  async #watchSession<T>(token: string | undefined, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      // An answer to a former session says nothing about the present one.
      if (error instanceof ApiError && error.status === 401 && this.token === token) this.#onUnauthorized();
      throw error;
    }
  }

  async #call(method: string, path: string, body?: JsonRecord, token?: string): Promise<JsonRecord> {
    return answerOf(await this.#fetch(method, path, body, token));
  }

  #fetch(method: string, path: string, body?: JsonRecord, token?: string): Promise<Response> {
    const headers = new Headers();
    if (token !== undefined) headers.set('authorization', `Bearer ${token}`);
    if (body !== undefined) headers.set('content-type', 'application/json');
    return fetch(API_BASE + path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      cache: 'no-store',
    }).catch(() => {
      throw new ApiError(0, 'The server cannot be reached.');
    });
  }
}

async function answerOf(response: Response): Promise<JsonRecord> {
  // The connection may be lost in the middle of the body; what is there then is no JSON.
  const text = await response.text().catch(() => '');
  const answer = parseJson(text);
  if (!response.ok) throw new ApiError(response.status, errorText(response, text, answer));
  if (!isRecord(answer)) throw new ApiError(response.status, 'The server gave an answer that this page cannot read.');
  return answer;
}

/** What the server says is wrong: `detail`, or `error` from its rate limiter, or the plain text of other layers. */
function errorText(response: Response, text: string, answer: unknown): string {
  if (isRecord(answer)) {
    const said = textField(answer, 'detail') ?? textField(answer, 'error');
    if (said !== undefined) return said;
  }
  const isPlain = response.headers.get('content-type')?.startsWith('text/plain') === true;
  return isPlain && text !== '' ? text : `The server answered ${response.status}.`;
}

function required(value: string | undefined): string {
  if (value === undefined) throw new ApiError(0, 'The server left out a part of its answer.');
  return value;
}
