import { NEVER, type Principal } from '../auth/principal.ts';
import { assertRole, type RoleGate } from '../auth/rights.ts';
import type { JsonObject } from '../bus/event.ts';
import type { EventLog } from '../bus/event-log.ts';
import { AppError, describeError } from '../errors.ts';
import { backendRefusalOf, refusalOf } from '../http/errors.ts';
import { publicationOrError, publishGood } from '../ingress/publications.ts';
import type { Connection } from '../stream/connection.ts';
import type { StreamDeclaration } from '../stream/declaration.ts';
import { type Caller, openDeclared, streamAt } from '../stream/open-declared.ts';
import type { Peer } from '../stream/socket-progress.ts';
import { resumptionFrom, resumptionOf, type Streams } from '../stream/streams.ts';
import type { Log } from '../telemetry/log.ts';
import { Gate } from './gate.ts';
import { type Socket, SocketWriter } from './socket-writer.ts';
import { errorFields, WS_CODES, type WsCodeName } from './ws-codes.ts';
import { eventsOfMessage, hasCredentials, parseMessage, refOf, resultOf, sidOf } from './ws-messages.ts';
import type { WsTransport } from './ws-transport.ts';

export const PROTOCOL_VERSION = 1;

/** What a client may send, in bytes. */
export interface WsLimits {
  /** Of one message. */
  readonly maxMessageBytes: number;
  /** Of messages whose answers it has not been sent; some more for each of them. */
  readonly maxInFlightBytes: number;
  /** Milliseconds in which somebody must have signed in. */
  readonly authMs: number;
}

export interface WsParts {
  readonly streams: Streams;
  readonly declarations: readonly StreamDeclaration[];
  readonly authenticator: {
    authenticateStream(request: Request): Promise<{ readonly principal: Principal }>;
    authenticateToken(token: string): Promise<Principal>;
    stillValid(principal: Principal, gate: RoleGate): Promise<boolean>;
  };
  readonly eventLog: Pick<EventLog, 'publish'>;
  readonly logger: Log;
  readonly limits: WsLimits;
  /** Centre of what clients are told to wait before they come back, in milliseconds. */
  readonly retryMs: number;
}

interface Signed extends Caller {
  /** Gives up what was kept of the session. */
  readonly release: () => void;
}

interface Stream {
  readonly connection: Connection;
  readonly transport: WsTransport;
}

/** Who may publish. */
const PUBLISHERS: RoleGate = 'publish';
/** What a message costs beside its bytes while it waits. */
const MESSAGE_COST = 256;
/** Nobody has said who it is that sends so much. */
const MOST_BYTES_UNSIGNED = 16 * 1024;
/** A client that does not answer the close of its socket is dropped then. */
const CLOSE_MS = 2000;
/** The longest time that a timer takes. */
const MOST_TIMER_MS = 2 ** 31 - 1;

/**
 * One WebSocket: who is at its other end, what it asks for, in its order, and the streams that it carries. Answers to what is
 * published come when Redis has it; meanwhile the next message is looked at.
 */
export class WsSession {
  readonly #parts: WsParts;
  readonly #socket: Socket;
  readonly #writer: SocketWriter;
  /** In front of publishing. */
  readonly #gate = new Gate(() => this.#assertStillValid());
  /** Messages that are being published. */
  readonly #publishing = new Set<Promise<void>>();
  readonly #streams = new Map<string, Stream>();
  readonly #tasks: (() => Promise<void> | undefined)[] = [];
  #running = false;
  #inFlight = 0;
  #caller: Signed | undefined;
  #closed = false;
  /** Until somebody has signed in, then until the session ends, then until the socket is dropped. */
  #timer: Timer | undefined;

  constructor(socket: Socket, peer: Peer | undefined, parts: WsParts) {
    this.#socket = socket;
    this.#parts = parts;
    this.#writer = new SocketWriter(socket, parts.streams.stalls, peer, () => this.#end('flood'));
  }

  /** Greets, and signs in whoever brought a token or a ticket along. */
  start(request: Request): void {
    const { authMs, maxMessageBytes, maxInFlightBytes } = this.#parts.limits;
    this.#writer.say({
      op: 'hello',
      version: PROTOCOL_VERSION,
      auth_ms: authMs,
      max_message_bytes: maxMessageBytes,
      max_in_flight_bytes: maxInFlightBytes,
    });
    this.#timer = setTimeout(() => this.#end('auth_timeout'), authMs);
    if (!hasCredentials(request)) return;
    this.#enqueue(0, {}, () =>
      this.#signIn({}, async () => (await this.#parts.authenticator.authenticateStream(request)).principal),
    );
  }

  receive(text: string): void {
    if (this.#closed) return;
    const cost = Buffer.byteLength(text) + MESSAGE_COST;
    const most = this.#caller === undefined ? MOST_BYTES_UNSIGNED : this.#parts.limits.maxInFlightBytes;
    if (this.#inFlight + cost > most) return this.#end('flood');
    let message: JsonObject;
    try {
      message = parseMessage(text);
    } catch (error) {
      return this.#tellError({}, error);
    }
    this.#enqueue(cost, message, () => this.#handle(message, cost));
  }

  /** Bytes are no message of this protocol. */
  receiveBytes(): void {
    this.#tellError({}, new AppError('bad_request', 'Messages are JSON objects, sent as text'));
  }

  drained(): void {
    this.#writer.drained();
  }

  ping(): void {
    this.#writer.ping();
  }

  /** Says goodbye: what was published is acknowledged, and the socket closed. Resolves when nothing is published any more. */
  async drain(): Promise<void> {
    if (this.#closed) return;
    const retryMs = Math.round(this.#parts.retryMs * (0.75 + Math.random() / 2));
    this.#writer.say({ op: 'bye', retry_ms: retryMs });
    this.#tasks.length = 0;
    await Promise.all(this.#publishing);
    this.#end('restart');
  }

  /** The socket is no more. */
  closed(): void {
    clearTimeout(this.#timer);
    this.#closed = true;
    this.#tasks.length = 0;
    this.#writer.close();
    this.#caller?.release();
    this.#caller = undefined;
    for (const stream of [...this.#streams.values()]) leave(stream);
  }

  // --- messages ------------------------------------------------------------------------------------------------------

  /** One after the other: what a message asks for may depend on the one before. */
  #enqueue(cost: number, message: JsonObject, task: () => Promise<void> | undefined): void {
    this.#inFlight += cost;
    this.#tasks.push(() => {
      try {
        return task()?.catch((error: unknown) => this.#tellError(message, error));
      } catch (error) {
        this.#tellError(message, error);
        return undefined;
      }
    });
    if (!this.#running) void this.#run();
  }

  async #run(): Promise<void> {
    this.#running = true;
    for (let task = this.#tasks.shift(); task !== undefined; task = this.#tasks.shift()) {
      const pending = task();
      if (pending !== undefined) await pending;
    }
    this.#running = false;
  }

  #handle(message: JsonObject, cost: number): Promise<void> | undefined {
    if (message.op === 'publish') {
      // Not waited for: the next message may be published with it.
      const published = this.#publish(message)
        .catch((error: unknown) => this.#tellError(message, error))
        .finally(() => {
          this.#publishing.delete(published);
          this.#answered(cost);
        });
      this.#publishing.add(published);
      return undefined;
    }
    const pending = this.#perform(message);
    if (pending === undefined) this.#answered(cost);
    return pending?.finally(() => this.#answered(cost));
  }

  #answered(cost: number): void {
    this.#inFlight -= cost;
  }

  #perform(message: JsonObject): Promise<void> | undefined {
    switch (message.op) {
      case 'ping':
        return void this.#writer.say({ op: 'pong', ...refOf(message) });
      case 'auth':
        return this.#auth(message);
      case 'subscribe':
        return this.#subscribe(message);
      case 'unsubscribe':
        return void this.#unsubscribe(message);
      default:
        throw new AppError('bad_request', 'op must be one of auth, subscribe, unsubscribe, publish and ping');
    }
  }

  // --- who it is -----------------------------------------------------------------------------------------------------

  #auth(message: JsonObject): Promise<void> {
    const { token } = message;
    if (typeof token !== 'string') throw new AppError('invalid', 'token must be a string');
    return this.#signIn(message, () => this.#parts.authenticator.authenticateToken(token));
  }

  /** Takes up who it is, or a newer session of the same user. */
  async #signIn(message: JsonObject, authenticate: () => Promise<Principal>): Promise<void> {
    const { streams } = this.#parts;
    const heard = streams.revocations;
    const principal = await authenticate().catch((error: unknown) => {
      const refused = refusalOf(error);
      if (this.#caller !== undefined || refused === undefined || WS_CODES[refused.code].ends !== 'sign-in') throw error;
      this.#tellError({ ...message, op: 'auth' }, error);
      return this.#end(refused.code);
    });
    if (principal === undefined || this.#closed) return;
    if (this.#caller !== undefined && this.#caller.principal.userUuid !== principal.userUuid) {
      throw new AppError('forbidden', 'The token is of another user; open a socket of its own for it');
    }
    this.#caller?.release();
    this.#caller = { principal, heard, release: streams.attend(principal, heard, () => this.#end('session_ended')) };
    for (const { connection } of [...this.#streams.values()]) streams.renew(connection, principal, heard);
    this.#endAt(principal.expiresAt);
    const { username, role, expiresAt } = principal;
    const ends = expiresAt === NEVER ? null : expiresAt;
    this.#writer.say({ op: 'auth', ...refOf(message), user: username, role, expires_at: ends });
  }

  #endAt(time: number): void {
    clearTimeout(this.#timer);
    const ms = time - Date.now();
    const next = ms > MOST_TIMER_MS ? () => this.#endAt(time) : () => this.#end('session_ended');
    this.#timer = setTimeout(next, Math.min(ms, MOST_TIMER_MS));
  }

  #signed(): Signed {
    if (this.#caller === undefined) throw new AppError('unauthenticated', 'Sign in first: {"op":"auth","token":"…"}');
    return this.#caller;
  }

  // --- streams -------------------------------------------------------------------------------------------------------

  async #subscribe(message: JsonObject): Promise<void> {
    const caller = this.#signed();
    const { streams, declarations } = this.#parts;
    const { stream, cursor } = message;
    const sid = sidOf(message);
    if (typeof stream !== 'string') throw new AppError('invalid', 'stream must be a path such as /identities/events');
    if (cursor !== undefined && cursor !== null && typeof cursor !== 'string') {
      throw new AppError('invalid', 'cursor must be the id of a frame');
    }
    if (this.#streams.has(sid)) throw new AppError('conflict', `The sid '${sid}' is in use; unsubscribe it first`);
    const found = streamAt(declarations, stream);
    const resumption = cursor ? resumptionFrom(cursor) : resumptionOf(new Headers(), found.query);
    const admission = await openDeclared(streams, caller, { ...found, resumption });
    if (this.#closed) return admission.abandon();
    this.#writer.say({ op: 'subscribed', sid, ...refOf(message) });
    const transport = this.#writer.open(sid, () => this.#streams.delete(sid));
    const connection = admission.start(transport);
    // One that is finished stays until its client has taken it all.
    if (transport.ended) return;
    this.#streams.set(sid, { connection, transport });
    // The session may have been renewed while the stream was prepared.
    const now = this.#signed();
    if (now !== caller) streams.renew(connection, now.principal, now.heard);
  }

  #unsubscribe(message: JsonObject): void {
    const sid = sidOf(message);
    const stream = this.#streams.get(sid);
    if (stream === undefined)
      throw new AppError('not_found', `There is no stream with the sid '${sid}' on this socket`);
    leave(stream);
    this.#writer.say({ op: 'unsubscribed', sid, ...refOf(message) });
  }

  // --- publishing ----------------------------------------------------------------------------------------------------

  async #publish(message: JsonObject): Promise<void> {
    assertRole(this.#signed().principal, PUBLISHERS);
    const checked = eventsOfMessage(message).map(publicationOrError);
    await this.#gate.pass();
    // Whoever it is by now: of what was taken away meanwhile nothing is left.
    const answers = await publishGood(this.#parts.eventLog, checked, this.#signed().principal, this.#parts.logger);
    this.#writer.say({ op: 'published', ...refOf(message), results: answers.map(resultOf) });
  }

  /** The database is asked each time: a session that was revoked a moment ago publishes nothing. */
  async #assertStillValid(): Promise<void> {
    if (await this.#parts.authenticator.stillValid(this.#signed().principal, PUBLISHERS)) return;
    throw new AppError('unauthenticated', 'The session has ended; sign in again');
  }

  // --- the end -------------------------------------------------------------------------------------------------------

  #tellError(message: JsonObject, error: unknown): void {
    const refused = refusalOf(error) ?? backendRefusalOf(error);
    if (refused === undefined) {
      this.#parts.logger.error('a message of a socket failed', { op: String(message.op), error: describeError(error) });
    }
    const reported = refused ?? ({ code: 'internal', message: 'Internal Server Error' } as const);
    const about = typeof message.sid === 'string' ? { sid: message.sid } : {};
    const re = typeof message.op === 'string' ? { re: message.op.slice(0, 32) } : {};
    this.#writer.say({ op: 'error', ...re, ...about, ...refOf(message), ...errorFields(reported) });
  }

  #end(name: WsCodeName): undefined {
    if (this.#closed) return;
    this.#closed = true;
    this.#writer.flush();
    this.#socket.close(WS_CODES[name].code, name);
    this.closed();
    this.#timer = setTimeout(() => this.#socket.terminate(), CLOSE_MS);
  }
}

/** Nobody takes any more of it. */
function leave({ connection, transport }: Stream): void {
  transport.leave();
  connection.close('gone');
}
