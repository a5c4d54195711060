/** The process of the stream clients: many sockets, little work for each frame, so that it is not the bottleneck. */
import { answerCommands } from './child.ts';
import { FrameReader, KnownChunks, type Run } from './frame-reader.ts';
import { Latencies } from './latencies.ts';
import { preciseNow, type SwarmCommand, type SwarmReport } from './protocol.ts';

/** Clients that open their stream at the same time. */
const OPENING = 50;
const SECOND_MS = 1000;

/** What all clients have received since the last reset. */
class Tally {
  delivered = 0;
  missing = 0;
  repeated = 0;
  resets = 0;
  closed = 0;
  readonly latencies = new Latencies();
  #firstAt = 0;
  #lastAt = 0;
  readonly #perSecond: number[] = [];

  onRun(run: Run, now: number): void {
    const count = run.last - run.first + 1;
    for (const madeAt of run.madeAt) this.latencies.add(now - madeAt);
    if (this.delivered === 0) this.#firstAt = now;
    this.delivered += count;
    this.#lastAt = now;
    const second = Math.floor((now - this.#firstAt) / SECOND_MS);
    this.#perSecond[second] = (this.#perSecond[second] ?? 0) + count;
  }

  report(clients: number): SwarmReport {
    const { delivered, missing, repeated, resets, closed, latencies } = this;
    const spanMs = this.#lastAt - this.#firstAt;
    return {
      ...{ clients, delivered, missing, repeated, resets, closed, spanMs },
      latency: { p50: latencies.percentile(0.5), p99: latencies.percentile(0.99), max: latencies.max },
      perSecond: Array.from({ length: Math.floor(spanMs / SECOND_MS) }, (_, second) => this.#perSecond[second] ?? 0),
    };
  }
}

let tally = new Tally();
const known = new KnownChunks();

/** One client: where its stream stands, and whether what comes continues it. */
class Client {
  #epoch = '';
  #offset = 0;
  #isLeaving = false;
  #end = () => {};

  /** Resolves when the first position is there. */
  async open({ url, path, token }: Extract<SwarmCommand, { do: 'connect' }>): Promise<void> {
    const { hostname, port } = new URL(url);
    const opened = Promise.withResolvers<void>();
    const reader = new FrameReader(known, {
      onRun: (run) => this.#onRun(run),
      onPosition: (epoch, offset) => {
        if (this.#epoch !== '') tally.resets += 1;
        this.#epoch = epoch;
        this.#offset = offset;
        opened.resolve();
      },
    });
    const socket = await Bun.connect({
      hostname,
      port: Number(port),
      socket: {
        data: (_, bytes) => {
          try {
            reader.feed(bytes);
          } catch (error) {
            opened.reject(error);
          }
        },
        close: () => {
          opened.reject(new Error('the stream ended before it began'));
          if (!this.#isLeaving) tally.closed += 1;
        },
        error: (_, error) => opened.reject(error),
      },
    });
    this.#end = () => socket.end();
    socket.write(
      `GET ${path} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nAccept: text/event-stream\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    );
    await opened.promise;
  }

  close(): void {
    this.#isLeaving = true;
    this.#end();
  }

  #onRun(run: Run): void {
    if (run.epoch !== this.#epoch) tally.resets += 1;
    else if (run.first > this.#offset + 1) tally.missing += run.first - this.#offset - 1;
    else if (run.first <= this.#offset) tally.repeated += Math.min(run.last, this.#offset) - run.first + 1;
    this.#epoch = run.epoch;
    this.#offset = Math.max(run.last, this.#offset);
    tally.onRun(run, preciseNow());
  }
}

const clients: Client[] = [];

async function connect(command: Extract<SwarmCommand, { do: 'connect' }>): Promise<void> {
  while (clients.length < command.clients) {
    const batch = Array.from({ length: Math.min(OPENING, command.clients - clients.length) }, () => new Client());
    await Promise.all(batch.map((client) => client.open(command)));
    clients.push(...batch);
  }
}

answerCommands(async (command: SwarmCommand): Promise<SwarmReport> => {
  if (command.do === 'connect') await connect(command);
  if (command.do === 'disconnect') for (const client of clients.splice(0)) client.close();
  if (command.do === 'reset') tally = new Tally();
  return tally.report(clients.length);
});
