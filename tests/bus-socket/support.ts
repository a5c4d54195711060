import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EventLog } from '../../src/bus/event-log.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { Tail } from '../../src/bus/tail.ts';
import { type BusSocket, type BusSocketOptions, startBusSocket } from '../../src/bus-socket/server.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { DEFAULTS } from '../bus/support.ts';
import { quiet } from '../support/database.ts';
import { startTestRedis, type TestRedis, whenReady } from '../support/redis.ts';
import { until } from '../support/until.ts';

export interface Message {
  readonly verb: string;
  readonly argument: string;
  readonly body: string;
}

/** An event as a peer gets it; whether it is one is what is tested. */
export interface HeardEvent {
  readonly id: string;
  readonly topic: string;
  readonly type: string;
  readonly ts: number;
  readonly payload: Readonly<Record<string, unknown>> & { readonly n: number };
}

/** A peer that reads only when it is asked to, and writes what it is told to, right or wrong. */
export class Peer {
  readonly messages: Message[] = [];
  /** What {@link heardEverything} waits for. */
  readonly probes: Message[] = [];
  #socket: Bun.Socket | undefined;
  #bytes: Buffer = Buffer.alloc(0);
  #toWrite: Buffer = Buffer.alloc(0);
  isClosed = false;

  static async connect(path: string): Promise<Peer> {
    const peer = new Peer();
    peer.#socket = await Bun.connect({
      unix: path,
      socket: {
        data: (_, bytes) => peer.#onData(bytes),
        drain: () => peer.#write(),
        close: () => {
          peer.isClosed = true;
        },
        error: () => {},
      },
    });
    return peer;
  }

  /** Bytes that the other side has not taken yet. */
  get unwritten(): number {
    return this.#toWrite.length;
  }

  /** Text of one byte a character. */
  raw(...parts: (string | Uint8Array)[]): this {
    this.#toWrite = Buffer.concat([this.#toWrite, ...parts.map((part) => Buffer.from(part as string, 'latin1'))]);
    this.#write();
    return this;
  }

  send(verb: string, argument = '', body = ''): this {
    return this.raw(frame(verb, argument, body));
  }

  publish(topic: string, payload: unknown, type = ''): this {
    return this.send('PUB', topic, JSON.stringify({ v: 1, id: 'mine', topic: 'other', type, ts: 1, payload }));
  }

  /** Reads nothing more, until {@link resume}. */
  pause(): this {
    this.#socket?.pause();
    return this;
  }

  resume(): this {
    this.#socket?.resume();
    return this;
  }

  close(): void {
    this.#socket?.end();
  }

  /** As a process that is killed: what it has not read makes it a reset. */
  breakOff(): void {
    this.#socket?.terminate();
  }

  /** The numbers `n` of the payloads that it got, in order. */
  numbers(): number[] {
    return this.events().map(({ payload }) => payload.n);
  }

  events(): HeardEvent[] {
    return this.messages.filter(({ verb }) => verb === 'EVT').map(({ body }) => JSON.parse(body));
  }

  #write(): void {
    const taken = this.#socket?.write(this.#toWrite) ?? 0;
    this.#toWrite = this.#toWrite.subarray(Math.max(0, taken));
  }

  #onData(bytes: Uint8Array): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    for (;;) {
      const end = this.#bytes.indexOf('\n');
      if (end === -1 || this.#bytes.length < end + 5) return;
      const length = this.#bytes.readUInt32BE(end + 1);
      if (this.#bytes.length < end + 5 + length) return;
      const [verb = '', ...words] = this.#bytes.subarray(0, end).toString('latin1').split(' ');
      const body = this.#bytes.subarray(end + 5, end + 5 + length).toString();
      const list = words[0]?.startsWith('probe.') ? this.probes : this.messages;
      list.push({ verb, argument: words.join(' '), body });
      this.#bytes = this.#bytes.subarray(end + 5 + length);
    }
  }
}

/** A frame as the contract describes it. */
export function frame(verb: string, argument = '', body = ''): Buffer {
  const bytes = Buffer.from(body);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([Buffer.from(`${verb}${argument === '' ? '' : ` ${argument}`}\n`, 'latin1'), length, bytes]);
}

/** A bus socket on a Redis of its own, with the tail that feeds it. */
export interface Stage {
  readonly server: TestRedis;
  readonly events: EventLog;
  readonly path: string;
  readonly socket: BusSocket;
  /** What was logged: one JSON object a line. */
  readonly lines: string[];
  logged(text: string): boolean;
  /** Lets the tail begin, where it has not. */
  beginTail(): Promise<void>;
  peer(): Promise<Peer>;
  /** A peer that gets everything of these patterns from now on. */
  subscriber(...patterns: string[]): Promise<Peer>;
  stop(): Promise<void>;
}

interface StageOptions extends Partial<BusSocketOptions> {
  readonly stopMs?: number;
  /** Default: never, so that tests may count events. */
  readonly heartbeatMs?: number;
  /** The tail begins only when it is told to. */
  readonly isTailLate?: boolean;
}

export async function createStage({
  stopMs = 5000,
  heartbeatMs = 0,
  isTailLate = false,
  ...options
}: StageOptions = {}): Promise<Stage> {
  const [server, folder] = await Promise.all([startTestRedis(), mkdtemp(join(tmpdir(), 'decnet-bus-'))]);
  const redis: RedisConnections = connectRedis(server.url, quiet);
  await whenReady(redis);
  const events = new EventLog(redis.commands, DEFAULTS);
  const path = join(folder, 'bus.sock');
  const lines: string[] = [];
  const logger = createLog('debug', (line) => lines.push(line));
  const socket = await startBusSocket({
    options: { path, group: String(process.getgid?.() ?? 0), publish: ['>'], subscribe: ['>'], ...options },
    events,
    logger,
    stopMs,
    heartbeatMs,
  });
  if (socket === undefined) throw new Error('it does not listen');
  const tail = new Tail(redis.openTail, events, socket.listener, quiet);
  const beginTail = async () => {
    tail.start();
    await until('the tail to begin', () => tail.cursor.epoch !== '');
  };
  if (!isTailLate) await beginTail();
  const peers: Peer[] = [];
  const peer = async () => {
    const connected = await Peer.connect(path);
    peers.push(connected);
    return connected;
  };
  return {
    server,
    events,
    path,
    socket,
    lines,
    beginTail,
    logged: (text) => lines.some((line) => line.includes(text)),
    peer,
    async subscriber(...patterns) {
      const subscriber = await peer();
      for (const pattern of patterns) subscriber.send('SUB', pattern);
      await heardEverything(subscriber, await peer());
      return subscriber;
    },
    async stop() {
      for (const each of peers) each.close();
      await socket.stop();
      tail.stop();
      redis.close();
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Waits until all that the peer has sent was read: subscriptions are not acknowledged, but order is kept. */
export async function heardEverything(peer: Peer, other: Peer): Promise<void> {
  const topic = `probe.${crypto.randomUUID()}`;
  const came = () => peer.probes.some(({ argument }) => argument === topic);
  peer.send('SUB', topic);
  await until('a probe to come back', () => {
    other.publish(topic, {});
    return came();
  });
  peer.send('UNSUB', topic);
  other.close();
}
