import { resolve } from 'node:path';
import { mayUse, type Subject } from '../auth/rights.ts';
import { createEvent, type Event } from '../bus/event.ts';
import type { EventLog } from '../bus/event-log.ts';
import { Heartbeat } from '../bus/heartbeat.ts';
import { subscription } from '../bus/subscription.ts';
import type { TailListener } from '../bus/tail.ts';
import { topics } from '../bus/topic.ts';
import { within } from '../bus/within.ts';
import type { Log } from '../telemetry/log.ts';
import { Connection, type ConnectionParts } from './connection.ts';
import { Delivery } from './delivery.ts';
import { besides, publishSocket, restrict } from './socket-file.ts';
import { type BusSocketStats, newStats, RareWarning } from './stats.ts';
import { Turns } from './turns.ts';

export interface BusSocketOptions {
  /** Where to listen; `undefined`: nowhere. */
  readonly path: string | undefined;
  readonly group: string;
  /** Patterns of what its peers may publish, and of what they may be told. */
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

export interface BusSocket {
  /** For the tail. Nothing that peers publish goes to Redis before the tail has its place, so that all of them hear it. */
  readonly listener: TailListener;
  readonly stats: Readonly<BusSocketStats>;
  /** Takes the socket away, says goodbye to the peers, and waits until Redis has what they published, but not for ever. */
  stop(): Promise<void>;
}

interface BusSocketParts {
  readonly options: BusSocketOptions;
  readonly events: Pick<EventLog, 'publish'>;
  readonly logger: Log;
  /** Milliseconds that stopping waits for Redis; default 5000. */
  readonly stopMs?: number;
  /** Milliseconds between two `system.bus.health`; default 10,000 (contract §2.4); 0: never. */
  readonly heartbeatMs?: number;
}

/** Each may hold some megabytes. A host of DECNET has twenty workers. */
const MAX_CONNECTIONS = 256;
const STOP_MS = 5000;
const HEARTBEAT_MS = 10_000;

/**
 * DECNET's bus (contract §2.2) on the durable log: its workers publish and subscribe as if it were their own.
 * @returns `undefined` when no path is configured
 * @throws when somebody listens there already, or the socket cannot be made
 */
export async function startBusSocket(parts: BusSocketParts): Promise<BusSocket | undefined> {
  const { options, logger } = parts;
  if (options.path === undefined) return undefined;
  const path = resolve(options.path);
  const server = new Server(parts);
  const temporary = besides(path);
  const listener = listen(temporary, server);
  try {
    restrict(temporary, options.group, logger);
    const unpublish = await publishSocket(temporary, path);
    logger.info('the bus socket listens', { path });
    const stop = async () => {
      unpublish();
      listener.stop();
      await server.stop();
    };
    let stopping: Promise<void> | undefined;
    return {
      listener: server.listener,
      stats: server.stats,
      stop: () => {
        stopping ??= stop();
        return stopping;
      },
    };
  } catch (error) {
    listener.stop(true);
    throw error;
  }
}

function listen(path: string, server: Server) {
  try {
    return Bun.listen<Connection | undefined>({
      unix: path,
      socket: {
        open: (socket) => {
          socket.data = server.open(socket);
        },
        data: (socket, bytes) => socket.data?.onData(bytes),
        drain: (socket) => socket.data?.flush(),
        close: (socket, error) => socket.data?.onClose(error),
        error: (socket, error) => socket.data?.onClose(error),
      },
    });
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new Error(
      `DECNET_BUS_SOCKET: cannot listen in the folder of ${path} (${reason}): it has to exist, be writable, and its path short`,
    );
  }
}

/** The connections, and what they have in common. */
class Server {
  readonly stats = newStats();
  readonly listener: TailListener;
  readonly #logger: Log;
  readonly #stopMs: number;
  readonly #connections = new Map<string, Connection>();
  readonly #parts: ConnectionParts;
  readonly #heartbeat: Heartbeat | undefined;
  readonly #tailBegun = Promise.withResolvers<void>();
  #hasTailBegun = false;
  #isStopping = false;
  #allDone = Promise.withResolvers<void>();

  constructor({ options, events, logger, stopMs = STOP_MS, heartbeatMs: intervalMs = HEARTBEAT_MS }: BusSocketParts) {
    const turns = new Turns(logger);
    // Who may connect is the business of file permissions, and what they may do then that of the configuration alone.
    const { publish, subscribe } = options;
    const peer: Subject = { role: 'peer', grants: { publish, subscribe, control: true } };
    const mayHear = mayUse(peer, 'subscribe');
    this.#logger = logger;
    this.#stopMs = stopMs;
    this.#parts = {
      events,
      logger,
      stats: this.stats,
      turns,
      tailBegun: this.#tailBegun.promise,
      mayPublish: mayUse(peer, 'publish'),
      refusals: new RareWarning(logger, 'a publication of the bus socket was refused'),
      violations: new RareWarning(logger, 'a peer of the bus socket broke the rules; its connection ends'),
      cuts: new RareWarning(logger, 'a connection of the bus socket ended in the middle of a frame'),
      onDone: (connection) => this.#onDone(connection),
    };
    if (intervalMs > 0) this.#heartbeat = new Heartbeat({ name: 'bus', events, logger, intervalMs, event: health });
    const delivery = new Delivery(this.#connections, turns, this.stats, logger);
    this.listener = subscription(
      ['>'],
      (entry) => mayHear(entry.topic) && delivery.add(entry),
      () => this.#onBreak(),
    );
  }

  open(socket: Bun.Socket<Connection | undefined>): Connection | undefined {
    if (this.#isStopping || this.#connections.size >= MAX_CONNECTIONS) {
      this.stats.violations += 1;
      this.#parts.violations.warn({ error: `more than ${MAX_CONNECTIONS} connections` });
      socket.end();
      return undefined;
    }
    const connection = new Connection(socket, this.#parts);
    this.#connections.set(connection.origin.tag, connection);
    this.stats.connections = this.#connections.size;
    return connection;
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    void this.#heartbeat?.stop();
    for (const connection of this.#connections.values()) connection.end();
    if (this.#connections.size === 0) return;
    await within(this.#allDone.promise, this.#stopMs, 'the publications of the bus socket').catch(() => {
      for (const connection of this.#connections.values()) connection.giveUp();
      this.#logger.error('publications of the bus socket are lost: redis did not take them before the end', {
        lost: this.stats.lost,
      });
    });
  }

  #onDone({ origin }: Connection): void {
    this.#connections.delete(origin.tag);
    this.stats.connections = this.#connections.size;
    if (this.#isStopping && this.#connections.size === 0) this.#allDone.resolve();
  }

  #onBreak(): void {
    // The first one says where the tail begins.
    if (!this.#hasTailBegun) {
      this.#hasTailBegun = true;
      this.#tailBegun.resolve();
      this.#heartbeat?.start();
      return;
    }
    this.stats.breaks += 1;
    const subscribers = this.#connections.values().filter(({ isSubscribed }) => isSubscribed);
    const count = [...subscribers].length;
    if (count > 0)
      this.#logger.warn('the log was broken: peers of the bus socket may have missed events', { peers: count });
  }
}

/** What DECNET's own bus says of itself (contract §8). */
function health(): Event {
  const now = Date.now();
  const told = { pid: process.pid, uptime_sec: process.uptime(), ts: now / 1000 };
  return createEvent(topics.systemHealth('bus'), 'bus.health', told, undefined, now);
}
