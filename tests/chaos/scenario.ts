import { Tokens } from '../../src/auth/tokens.ts';
import { topologyChannel } from '../../src/bus/channel.ts';
import { parseCursor } from '../../src/bus/cursor.ts';
import { entryId } from '../../src/bus/entry.ts';
import { createEvent, type Event } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { matcher } from '../../src/bus/topic.ts';
import { call, createPlane, type Plane, testEnv } from '../support/app.ts';
import type { ChildNode } from '../support/child-node.ts';
import { seeded } from '../support/random.ts';
import { until } from '../support/until.ts';
import { Archive } from './archive.ts';
import { startNode } from './fleet.ts';
import { RawClient } from './raw-client.ts';
import type { Sabotage } from './server.ts';
import { type History, verify } from './verify.ts';

const CLIENTS = 12;
/** Small, so that falling behind means reading history from Redis. */
const WINDOW_BYTES = '65536';
/** Enough to fill the socket buffers of a client that has stopped reading (about 4 MB). */
const FLOOD = { events: 260, bytes: 30_000 };
/** How long after the last act a client may take; a control, whose clients never catch up, waits less. */
const CATCH_UP_MS = { whole: 30_000, control: 6_000 };

interface Stream {
  readonly path: string;
  readonly channel: string;
  readonly shows: (topic: string) => boolean;
  readonly filtered: boolean;
}

/** One client over all its connections. */
class ChaosClient {
  readonly #stream: Stream;
  readonly #name: string;
  readonly #token: string;
  readonly #sessions: { cursor: string; raw: RawClient }[] = [];
  paused = false;

  constructor(name: string, stream: Stream, token: string) {
    this.#name = name;
    this.#stream = stream;
    this.#token = token;
  }

  get channel(): string {
    return this.#stream.channel;
  }

  get connected(): boolean {
    return this.#sessions.at(-1)?.raw.ended === false;
  }

  get lastId(): string {
    for (const { cursor, raw } of this.#sessions.toReversed()) {
      const id = raw.frames.findLast((frame) => frame.id !== undefined)?.id;
      if (id !== undefined) return id;
      if (cursor !== '') return cursor;
    }
    return '';
  }

  async connect(url: string): Promise<void> {
    const cursor = this.lastId;
    const headers = { authorization: `Bearer ${this.#token}`, ...(cursor === '' ? {} : { 'last-event-id': cursor }) };
    this.paused = false;
    this.#sessions.push({ cursor, raw: await RawClient.open(`${url}/api/v1${this.#stream.path}`, headers) });
  }

  stall(): void {
    this.paused = true;
    this.#sessions.at(-1)?.raw.pause();
  }

  go(): void {
    this.paused = false;
    this.#sessions.at(-1)?.raw.resume();
  }

  vanish(): void {
    this.#sessions.at(-1)?.raw.vanish();
  }

  /** Its last frames, for a message. */
  tail(): string {
    const { cursor, raw } = this.#sessions.at(-1) ?? {};
    const last = raw?.frames.slice(-3).map(({ id, event }) => `${event} ${id}`);
    return `session ${this.#sessions.length} from '${cursor}', status ${raw?.status}: ${last?.join(', ')}`;
  }

  history(): History {
    const sessions = this.#sessions.map(({ cursor, raw }) => ({ cursor, frames: raw.frames }));
    return { name: `${this.#name} on ${this.#stream.path}`, ...this.#stream, sessions };
  }
}

export interface ChaosReport {
  readonly problems: readonly string[];
  readonly published: number;
  readonly frames: number;
  readonly resets: number;
  readonly resumes: number;
}

/**
 * Random publishes, stalls, disappearances, killed nodes, a killed, trimmed and flushed Redis; then calm, until every
 * client has everything; then the verdict. The seed decides what is done in which order.
 * @param steps number of random acts
 * @param without a protection that the nodes do without: the run must then have problems
 */
export async function runChaos(seed: number, steps: number, without?: Sabotage): Promise<ChaosReport> {
  const plane = await createPlane();
  const scenario = new Scenario(plane, seeded(seed).next, without);
  try {
    return await scenario.run(steps);
  } finally {
    await scenario.stop();
    await plane.stop();
  }
}

class Scenario {
  readonly #plane: Plane;
  readonly #random: () => number;
  readonly #without: Sabotage | undefined;
  readonly #topologies = [crypto.randomUUID(), crypto.randomUUID()] as const;
  readonly #redis;
  readonly #archive: Archive;
  readonly #log: EventLog;
  readonly #acknowledged = new Set<string>();
  readonly #accepted = new Set<string>();
  #nodes: ChildNode[] = [];
  #clients: ChaosClient[] = [];
  #token = '';
  readonly #catchUpMs: number;
  #count = 0;

  constructor(plane: Plane, random: () => number, without: Sabotage | undefined) {
    this.#plane = plane;
    this.#random = random;
    this.#without = without;
    this.#catchUpMs = without === undefined ? CATCH_UP_MS.whole : CATCH_UP_MS.control;
    this.#redis = plane.redis.client();
    this.#archive = new Archive(this.#redis, [...this.#topologies.map(topologyChannel), 'identity']);
    this.#log = new EventLog(this.#redis, { maxEvents: 1_000_000, idempotencyMs: 600_000 });
  }

  async run(steps: number): Promise<ChaosReport> {
    await this.#prepare();
    for (let step = 0; step < steps; step += 1) await this.#act();
    await this.#everyProtection();
    const problems = [...(await this.#calm()), ...this.#verdict()];
    const frames = this.#clients.flatMap((client) => client.history().sessions.flatMap((session) => session.frames));
    return {
      problems,
      published: this.#count,
      frames: frames.length,
      resets: frames.filter(({ event }) => event === 'reset').length,
      resumes: frames.filter(({ event }) => event === 'resumed').length,
    };
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.vanish();
    await Promise.all(this.#nodes.map((node) => node.kill()));
  }

  async #prepare(): Promise<void> {
    const now = new Date().toISOString();
    const uuid = crypto.randomUUID();
    const { db } = this.#plane.database;
    await db
      .insertInto('users')
      .values({
        uuid,
        username: 'chaos',
        password_hash: '-',
        role: 'admin',
        must_change_password: 0,
        tokens_valid_from: null,
      })
      .execute();
    for (const id of this.#topologies) {
      await db
        .insertInto('topologies')
        .values({
          id,
          name: id,
          mode: 'unihost',
          target_host_uuid: null,
          config_snapshot: '{}',
          status: 'active',
          status_changed_at: now,
          created_at: now,
        })
        .execute();
    }
    this.#token = await new Tokens({ secret: this.#plane.config.auth.jwtSecret, ttlSeconds: 3600 }).issueAccess(uuid);
    await this.#log.position('log'); // The epoch: a copy of the archive names it.
    await this.#archive.copy();
    this.#nodes = await Promise.all([this.#startNode(), this.#startNode()]);
    const everything = () => true;
    const [first, second] = this.#topologies;
    const streams: Stream[] = [
      { path: `/topologies/${first}/events`, channel: topologyChannel(first), shows: everything, filtered: false },
      { path: `/topologies/${second}/events`, channel: topologyChannel(second), shows: everything, filtered: false },
      { path: '/identities/events', channel: 'identity', shows: everything, filtered: false },
      {
        path: '/events?topics=topology.>,identity.*',
        channel: 'log',
        shows: matcher(['topology.>', 'identity.*']),
        filtered: true,
      },
    ];
    this.#clients = Array.from({ length: CLIENTS }, (_, index) => {
      const stream = streams[index % streams.length];
      if (stream === undefined) throw new Error('no stream');
      return new ChaosClient(`client ${index}`, stream, this.#token);
    });
    for (const client of this.#clients) await this.#connect(client);
  }

  #startNode(): Promise<ChildNode> {
    const env = testEnv(this.#plane.redis.url, this.#plane.database.url);
    return startNode({ ...env, DECNET_SSE_WINDOW_BYTES: WINDOW_BYTES }, this.#without);
  }

  // --- acts ----------------------------------------------------------------------------------------------------------

  async #act(): Promise<void> {
    const acts: readonly (readonly [weight: number, act: () => Promise<void> | void])[] = [
      [30, () => this.#publish(1 + this.#below(40))],
      [8, () => this.#mutate()],
      [2, () => this.#publish(FLOOD.events, FLOOD.bytes)],
      [10, () => this.#pick(this.#clients).stall()],
      [12, () => this.#pick(this.#clients).go()],
      [10, () => this.#pick(this.#clients).vanish()],
      [20, () => this.#reconnect()],
      [2, () => this.#replaceNode()],
      [1, () => this.#killRedis()],
      [4, () => this.#trim()],
      [1, () => this.#archive.flush()],
    ];
    let dice = this.#random() * acts.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, act] of acts) {
      dice -= weight;
      if (dice < 0) return act();
    }
  }

  /** Whatever the dice have left out: each protection is needed here at least once. */
  async #everyProtection(): Promise<void> {
    for (const client of this.#clients) client.go();
    await this.#reconnect();
    await this.#publish(50);
    await this.#caughtUp();
    // The log is trimmed while all are away, and no node remembers what it held.
    await this.#whileAway(async () => {
      await this.#publish(30);
      await this.#replaceNode(this.#nodes[0]);
      await this.#replaceNode(this.#nodes[0]);
      const { newest } = await this.#archive.copy();
      for (const [channel, offset] of newest) await this.#archive.trim(channel, offset);
      await this.#publish(10);
    });
    // The log is flushed, and has more than before when they return.
    await this.#whileAway(async () => {
      const { newest } = await this.#archive.copy();
      await this.#archive.flush();
      while ((await this.#log.position('identity')).offset <= (newest.get('identity') ?? 0)) await this.#publish(200);
    });
    // They fall behind what memory holds.
    for (const client of this.#clients) client.stall();
    await this.#publish(FLOOD.events * 2, FLOOD.bytes);
    await this.#dispatched();
    for (const client of this.#clients) client.go();
    await this.#publish(10);
    await this.#caughtUp();
    // The log is flushed under their eyes, at a moment when only the tail can notice.
    await this.#checkpointed();
    await this.#archive.flush();
    await this.#publish(5);
  }

  /** Every node has handed on all that the log holds. */
  async #dispatched(): Promise<void> {
    const { offset } = await this.#log.position('log');
    for (const { url } of this.#nodes) {
      await until('the tail of a node', async () => {
        const health = await (await fetch(`${url}/readyz`)).text();
        return Number(/"tail":\{[^}]*"offset":(\d+)/.exec(health)?.[1]) >= offset;
      });
    }
  }

  /** Every group stands where its connection does: the next checkpoint has nothing to say, and finds no group missing. */
  async #checkpointed(): Promise<void> {
    const { newest } = await this.#archive.copy();
    for (const channel of new Set(this.#clients.map((client) => client.channel))) {
      await until('the checkpoints', async () => {
        const groups = (await this.#redis.xinfo('GROUPS', keys.stream(channel))) as string[][];
        return groups.every((fields) => fields.includes(entryId(newest.get(channel) ?? 0)));
      });
    }
  }

  async #whileAway(meanwhile: () => Promise<void>): Promise<void> {
    await this.#caughtUp();
    for (const client of this.#clients) client.vanish();
    await meanwhile();
    await this.#reconnect();
    await this.#publish(5);
    await this.#caughtUp();
  }

  /** Publishes for certain: with the same ids again until Redis has said that it has them. */
  async #publish(count: number, bytes = 20): Promise<void> {
    const publications = Array.from({ length: count }, () => ({ event: this.#randomEvent(bytes) }));
    for (let index = 0; index < publications.length; index += 50) {
      const some = publications.slice(index, index + 50);
      const published = await until('redis', () => this.#log.publish(some).catch(() => undefined), this.#catchUpMs);
      for (const { id } of published) this.#acknowledged.add(id);
    }
    for (const { event } of publications) this.#acknowledged.add(String(event.payload.n));
  }

  #randomEvent(bytes: number): Event {
    this.#count += 1;
    const payload = { n: `n${this.#count}`, pad: 'x'.repeat(bytes) };
    const topologyId = this.#pick(this.#topologies);
    switch (this.#below(5)) {
      case 0:
        return createEvent('identity.formed', 'formed', payload);
      case 1:
        return createEvent('decky.d1.state', 'state', { ...payload, topology_id: topologyId });
      case 2:
        return createEvent('attacker.observed', 'observed', payload);
      default:
        return createEvent(`topology.${topologyId}.status`, 'status', payload);
    }
  }

  /** A change through a node: its event goes by the outbox. */
  async #mutate(): Promise<void> {
    const path = `/topologies/${this.#pick(this.#topologies)}/mutations`;
    const answer = await call(this.#pick(this.#nodes).url, this.#token, 'POST', path, { op: 'add_lan' });
    const body: unknown = await answer.json();
    if (answer.status === 202 && typeof body === 'object' && body !== null && 'mutation_id' in body) {
      this.#accepted.add(String(body.mutation_id));
    }
  }

  async #reconnect(): Promise<void> {
    for (const client of this.#clients) if (!client.connected) await this.#connect(client);
  }

  async #connect(client: ChaosClient): Promise<void> {
    await client.connect(this.#pick(this.#nodes).url);
  }

  async #replaceNode(victim = this.#pick(this.#nodes)): Promise<void> {
    await victim.kill();
    this.#nodes = this.#nodes.filter((node) => node !== victim);
    this.#nodes.push(await this.#startNode());
  }

  /** SIGKILL; the supervisor starts it again on its append-only file. */
  async #killRedis(): Promise<void> {
    const pid = Number(/process_id:(\d+)/.exec(await this.#redis.info('server'))?.[1]);
    process.kill(pid, 'SIGKILL');
    await until('redis to be back', async () => {
      const info = await this.#redis.info('server').catch(() => '');
      return info !== '' && !info.includes(`process_id:${pid}\r`);
    });
  }

  async #trim(channel = this.#pick([...this.#topologies.map(topologyChannel), 'identity', 'log'])): Promise<void> {
    const { newest } = await this.#archive.copy();
    await this.#archive.trim(channel, this.#below((newest.get(channel) ?? 0) + 2));
  }

  // --- the end -------------------------------------------------------------------------------------------------------

  /** True for each client when it has what its stream shows of the log as it is now. */
  async #caughtUp(): Promise<void> {
    let behind: readonly string[] = [];
    const nobody = async () => {
      await this.#reconnect(); // A stalled client learns late that its node was killed.
      behind = await this.#behind();
      return behind.length === 0;
    };
    await until('all clients to catch up', nobody, this.#catchUpMs).catch(() => {
      throw new Error(`clients did not catch up: ${[...behind, ...this.#verdict()].join('; ')}`);
    });
  }

  async #behind(): Promise<string[]> {
    const behind: string[] = [];
    const { epoch } = await this.#archive.copy();
    for (const client of this.#clients) {
      const { channel, shows, name } = client.history();
      const shown = [...this.#archive.entries(epoch, channel).values()].filter(({ topic }) => shows(topic));
      const last = Math.max(0, ...shown.map(({ offset }) => offset));
      const at = parseCursor(client.lastId);
      if (at === undefined || at.epoch !== epoch || at.offset < last) {
        const state = client.connected ? 'connected' : 'disconnected';
        behind.push(`${name} (${state}, ${client.tail()}) stands at ${client.lastId}, the log at ${epoch}.${last}`);
      }
    }
    return behind;
  }

  /** Everybody is back and reads. @returns who does not catch up */
  async #calm(): Promise<string[]> {
    for (const client of this.#clients) client.go();
    try {
      await until(
        'calm',
        async () => {
          await this.#reconnect();
          const waiting = await this.#plane.database.db.selectFrom('outbox').select('seq').execute();
          return waiting.length === 0 && (await this.#behind()).length === 0;
        },
        this.#catchUpMs,
      );
      return [];
    } catch {
      return this.#behind();
    }
  }

  #verdict(): string[] {
    const problems = this.#clients.flatMap((client) => verify(client.history(), this.#archive));
    const times = new Map<string, number>();
    for (const epoch of this.#archive.epochs) {
      const inEpoch = new Set<string>();
      for (const { id, data } of this.#archive.entries(epoch, 'log').values()) {
        if (inEpoch.has(id)) problems.push(`event ${id} was published twice in epoch ${epoch}`);
        inEpoch.add(id);
        times.set(id, (times.get(id) ?? 0) + 1);
        const mutation = /"mutation_id":"([^"]+)"/.exec(data)?.[1];
        if (mutation !== undefined) times.set(mutation, (times.get(mutation) ?? 0) + 1);
      }
    }
    for (const id of [...this.#acknowledged].filter((id) => !id.startsWith('n'))) {
      if (!times.has(id)) problems.push(`event ${id} was acknowledged and is lost`);
    }
    for (const id of this.#accepted) {
      if (!times.has(id)) problems.push(`mutation ${id} was accepted and its event is lost`);
    }
    return problems;
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #pick<T>(items: readonly T[]): T {
    const item = items[this.#below(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }
}
