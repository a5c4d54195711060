import { isJsonObject, type JsonObject } from '../../bus/event.ts';
import { within } from '../../bus/within.ts';
import { describeError } from '../../errors.ts';
import type { Api } from '../api.ts';
import { CliError } from '../cli-error.ts';
import type { ExitName } from '../exit-codes.ts';
import { note } from '../output.ts';

/** Until somebody has answered, in milliseconds. */
const ANSWER_MS = 30_000;
/** Tries of one batch, and from one to the next: doubled each time. Half a minute, which a restart takes. */
const TRIES = 8;
const PAUSE_MS = { first: 250, most: 8000 } as const;

const EXITS: Readonly<Record<number, ExitName>> = {
  4401: 'unauthenticated',
  4402: 'forbidden',
  4403: 'forbidden',
  4410: 'unauthenticated',
};

/** The batch may be sent again: nobody has said no to it. */
class LostError extends Error {}

/**
 * Publishes batches over the server's WebSocket. A batch whose answer was lost is sent again: its events have ids, so that it
 * is published once.
 */
export class SocketPublisher {
  readonly #api: Api;
  #socket: WebSocket | undefined;
  #onMessage: (message: JsonObject) => void = () => {};
  #onClosed: (error: Error) => void = () => {};
  #hasConnected = false;

  constructor(api: Api) {
    this.#api = api;
  }

  /**
   * @returns an answer for each event, in order: where it went, or `{ error }`
   * @throws {CliError}
   */
  async publish(events: readonly JsonObject[]): Promise<JsonObject[]> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#connect();
        const { results } = await this.#ask({ op: 'publish', events }, 'published');
        if (Array.isArray(results) && results.length === events.length) return results.filter(isJsonObject);
        throw new CliError('failed', 'the server did not answer for each event');
      } catch (error) {
        this.close();
        if (!(error instanceof LostError)) throw error;
        if (!this.#hasConnected || attempt >= TRIES)
          throw new CliError('unreachable', `${this.#api.url}: ${error.message}`);
        if (attempt === 1) note(`${error.message}; sending again`);
        await Bun.sleep(Math.min(PAUSE_MS.first * 2 ** (attempt - 1), PAUSE_MS.most) * (0.75 + Math.random() / 2));
      }
    }
  }

  close(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  async #connect(): Promise<void> {
    if (this.#socket?.readyState === WebSocket.OPEN) return;
    const url = `${this.#api.url.replace(/^http/, 'ws')}/api/v1/ws`;
    const socket = new WebSocket(url, { headers: this.#api.headers });
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      const message: unknown = JSON.parse(String(data));
      if (isJsonObject(message)) this.#onMessage(message);
    };
    socket.onclose = ({ code, reason }) => this.#onClosed(closing(code, reason));
    socket.onerror = () => this.#onClosed(new LostError('the connection cannot be made, or broke'));
    // Nothing is asked: the token travels with the opening.
    await this.#answer('auth');
    this.#hasConnected = true;
  }

  #ask(message: JsonObject, op: string): Promise<JsonObject> {
    const answer = this.#answer(op);
    this.#socket?.send(JSON.stringify(message));
    return answer;
  }

  async #answer(op: string): Promise<JsonObject> {
    const { promise, resolve, reject } = Promise.withResolvers<JsonObject>();
    this.#onMessage = (message) => {
      if (message.op === op) resolve(message);
      else if (message.op === 'error') reject(refusalOf(message));
    };
    this.#onClosed = reject;
    try {
      return await within(promise, ANSWER_MS, 'the server');
    } catch (error) {
      throw error instanceof CliError || error instanceof LostError ? error : new LostError(describeError(error));
    }
  }
}

function refusalOf({ code, detail, retry }: JsonObject): Error {
  const text = String(detail);
  return retry === true ? new LostError(text) : new CliError(EXITS[Number(code)] ?? 'failed', text);
}

function closing(code: number, reason: string): Error {
  const exit = EXITS[code];
  if (exit !== undefined) return new CliError(exit, `the server ended the connection: ${reason}`);
  return new LostError(`the connection ended (${code}${reason === '' ? '' : ` ${reason}`})`);
}
