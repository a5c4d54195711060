import { isJsonObject } from '../../src/bus/event.ts';
import { RawWsClient } from '../support/raw-ws-client.ts';

/** What a producer publishes, with an id of its own. */
export interface Outgoing {
  readonly id: string;
  readonly topic: string;
  readonly type: string;
  readonly payload: object;
}

/** What became of events that were published together. */
export interface Outcome {
  readonly acknowledged: readonly string[];
  /** Event → why it cannot be published, however often it is tried. */
  readonly refused: ReadonlyMap<string, string>;
}

/**
 * A producer on a WebSocket: says all that it has to say without waiting, one event a message and some in one, and says again
 * with the same ids, on the next socket, what was not answered when the one before ended.
 */
export class WsProducer {
  readonly #token: string;
  #socket: RawWsClient | undefined;
  /** Events of a message whose answer is awaited, by its `ref`. */
  readonly #asked = new Map<number, readonly Outgoing[]>();
  #refs = 0;
  #outcome = newOutcome();
  #onChange = () => {};

  constructor(token: string) {
    this.#token = token;
  }

  /**
   * Says it once.
   * @param url of a node, for when there is no socket
   * @param isCut the socket goes as soon as all is said
   * @returns what was answered in time; the rest may have been published or not
   */
  async say(url: string, events: readonly Outgoing[], limitMs: number, isCut: boolean): Promise<Outcome> {
    const socket = await this.#open(url);
    this.#asked.clear();
    const outcome = newOutcome();
    this.#outcome = outcome;
    const isOver = Promise.withResolvers<void>();
    this.#onChange = () => {
      if (this.#asked.size === 0 || socket.closed) isOver.resolve();
    };
    const half = Math.ceil(events.length / 2);
    for (const event of events.slice(0, half)) this.#ask(socket, [event], { event });
    if (events.length > half) this.#ask(socket, events.slice(half), { events: events.slice(half) });
    if (isCut) socket.close();
    this.#onChange();
    const limit = setTimeout(isOver.resolve, limitMs);
    await isOver.promise;
    clearTimeout(limit);
    // What is answered later is not heard: the next try is on another socket.
    if (this.#asked.size > 0) socket.close();
    return outcome;
  }

  close(): void {
    this.#socket?.close();
  }

  async #open(url: string): Promise<RawWsClient> {
    if (this.#socket?.closed === false) return this.#socket;
    const socket: RawWsClient = await RawWsClient.connect(
      url,
      {},
      (text) => this.#take(socket, JSON.parse(text)),
      () => this.#onChange(),
    );
    socket.send({ op: 'auth', token: this.#token });
    this.#socket = socket;
    return socket;
  }

  #ask(socket: RawWsClient, events: readonly Outgoing[], message: object): void {
    this.#refs += 1;
    this.#asked.set(this.#refs, events);
    socket.send({ op: 'publish', ref: this.#refs, ...message });
  }

  #take(socket: RawWsClient, { op, re, ref, results, retry, detail }: Answer): void {
    if (op === 'error' && re === 'auth') return socket.close();
    const events = this.#asked.get(ref ?? 0);
    if (events === undefined) return;
    this.#asked.delete(ref ?? 0);
    for (const [index, { id }] of events.entries()) {
      const result = results?.[index];
      const error = result === undefined ? { retry, detail } : result.error;
      if (!isJsonObject(error)) this.#outcome.acknowledged.push(id);
      else if (error.retry !== true) this.#outcome.refused.set(id, String(error.detail));
    }
    this.#onChange();
  }
}

interface Answer {
  readonly op?: string;
  readonly re?: string;
  readonly ref?: number;
  readonly results?: readonly { readonly error?: unknown }[];
  readonly retry?: boolean;
  readonly detail?: string;
}

function newOutcome() {
  const acknowledged: string[] = [];
  return { acknowledged, refused: new Map<string, string>() };
}
