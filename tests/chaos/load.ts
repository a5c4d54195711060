import { createEvent } from '../../src/bus/event.ts';
import { appendToOutbox } from '../../src/bus/outbox.ts';
import type { Db } from '../../src/db/database.ts';
import { call } from '../support/app.ts';
import type { Random } from '../support/random.ts';
import { identityRow } from './identity-row.ts';
import { type Outgoing, WsProducer } from './ws-producer.ts';

export interface LoadOptions {
  readonly random: Random;
  readonly db: Db;
  readonly token: string;
  readonly topologies: readonly [string, ...string[]];
  /** The nodes that may be asked. */
  readonly urls: () => readonly string[];
}

/** A request that hears nothing for so long is made again, elsewhere. */
const ANSWER_MS = 3000;
/** A publisher that is refused for so long has found a violation. */
const PATIENCE_MS = 60_000;
const PUBLISHERS = 3;
const WS_PRODUCERS = 2;
/** Events that a producer on a socket says without waiting for an answer. */
const PIPELINED = 8;
/** That its socket goes before it has heard. */
const CUT_CHANCE = 0.1;
const PAUSE_MS = { publisher: 25, producer: 60, mutations: 150, identities: 300 } as const;
const MERGE_CHANCE = 0.3;
const UNFIT_CHANCE = 0.1;
/** That an event becomes rows of a projection. */
const PROJECTED_CHANCE = 0.4;

/** Whose stream is watched. */
export const STORM_ATTACKER = { uuid: 'storm-attacker', ip: '192.0.2.1' } as const;
const ANOTHER = { attacker_uuid: 'another-attacker', attacker_ip: '192.0.2.2' } as const;

/**
 * Everything that makes events, all the time: producers by `POST /events` and by WebSocket, each event again with the same id
 * until it is acknowledged; mutations by their route; identities by the database and its outbox.
 */
export class Load {
  readonly acknowledged = new Set<string>();
  readonly accepted = new Set<string>();
  readonly problems: string[] = [];
  published = 0;
  mutations = 0;
  identities = 0;
  readonly #options: LoadOptions;
  readonly #producers: readonly WsProducer[];
  readonly #lans = new Map<string, string>();
  #formed: string[] = [];
  #running: Promise<unknown> | undefined;
  #stopped = true;
  #abandoned = false;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#producers = Array.from({ length: WS_PRODUCERS }, () => new WsProducer(options.token));
  }

  start(): void {
    this.#stopped = false;
    const publishers = Array.from({ length: PUBLISHERS }, () => this.#repeat(PAUSE_MS.publisher, () => this.publish()));
    this.#running = Promise.all([
      ...publishers,
      ...this.#producers.map((producer) => this.#repeat(PAUSE_MS.producer, () => this.#publishBy(producer))),
      this.#repeat(PAUSE_MS.mutations, () => this.mutate()),
      this.#repeat(PAUSE_MS.identities, () => this.identify()),
    ]);
  }

  /** Resolves when everything that was begun has been acknowledged or refused. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /** Publishes an event for certain. */
  async publish(padding = 20): Promise<void> {
    const event = this.#newEvent(padding);
    const end = performance.now() + PATIENCE_MS;
    let last = 'no node listens';
    while (performance.now() < end && !this.#abandoned) {
      const answer = await this.#ask('/events', event);
      if (answer?.status === 202) return void this.acknowledged.add(event.id);
      if (answer !== undefined) last = `${answer.status} ${await answer.text()}`;
      if (answer !== undefined && answer.status !== 503) break;
      await Bun.sleep(20);
    }
    this.problems.push(`event ${event.id} (${event.topic}) could not be published: ${last}`);
  }

  /** The same for several at once, by a socket. */
  async #publishBy(producer: WsProducer): Promise<void> {
    const { random } = this.#options;
    const events = Array.from({ length: random.between(1, PIPELINED) }, () => this.#newEvent(20));
    let left: readonly Outgoing[] = events;
    const end = performance.now() + PATIENCE_MS;
    while (left.length > 0 && performance.now() < end && !this.#abandoned) {
      const url = this.#anyUrl();
      if (url !== undefined) {
        const isCut = random.chance(CUT_CHANCE);
        const { acknowledged, refused } = await producer.say(url, left, ANSWER_MS, isCut);
        for (const id of acknowledged) this.acknowledged.add(id);
        for (const [id, why] of refused) this.problems.push(`event ${id} could not be published by a socket: ${why}`);
        left = left.filter(({ id }) => !acknowledged.includes(id) && !refused.has(id));
      }
      if (left.length > 0) await Bun.sleep(20);
    }
    for (const { id } of left) this.problems.push(`event ${id} could not be published by a socket in time`);
  }

  #newEvent(padding: number): Outgoing {
    const { random, topologies } = this.#options;
    this.published += 1;
    const payload = { n: this.published, pad: 'x'.repeat(padding) };
    const topology = random.pick(topologies);
    const id = crypto.randomUUID().replaceAll('-', '');
    if (random.chance(PROJECTED_CHANCE)) return this.#projectedEvent(id);
    const [topic, content] = random.pick([
      [`topology.${topology}.note`, payload],
      [`topology.${topology}.note`, payload],
      ['decky.d1.state', { ...payload, topology_id: topology }],
      ['identity.note', payload],
      ['attacker.observed', payload],
    ]);
    return { id, topic, type: 'note', payload: content };
  }

  /** One that becomes a row, which tells its id. */
  #projectedEvent(id: string): Outgoing {
    const n = this.published;
    const attacker = { attacker_uuid: STORM_ATTACKER.uuid, attacker_ip: STORM_ATTACKER.ip };
    const line = { decky: 'd1', service: 'ssh', event_type: 'login', attacker_ip: STORM_ATTACKER.ip, raw_line: id };
    // An identity that moved would make its former campaign one of the newest again, without an event that names that.
    const [topic, payload] = this.#options.random.pick<readonly [string, Outgoing['payload']]>([
      ['campaign.formed', { campaign_uuid: id, identity_uuids: [`identity-${n}`] }],
      ['orchestrator.traffic.d1', { action: id, success: n % 2 === 0 }],
      ['attacker.observation.motor', { ...attacker, primitive: `motor.${n % 20}`, value: id, ts: n }],
      ['attacker.observation.motor', { ...ANOTHER, primitive: 'motor', value: id, ts: n }],
      ['system.log', line],
      ['system.log', line],
    ]);
    return { id, topic, type: 'row', payload };
  }

  /** Many large events at once: what a client that has stopped reading falls behind with. */
  async flood(events: number, bytes: number, isOver: () => boolean): Promise<void> {
    let left = events;
    const publisher = async () => {
      while (left > 0 && !isOver()) {
        left -= 1;
        await this.publish(bytes);
      }
    };
    await Promise.all(Array.from({ length: 4 }, publisher));
  }

  /** Adds a LAN or removes it again; now and then something that the mutator has to refuse. */
  async mutate(topology = this.#options.random.pick(this.#options.topologies)): Promise<void> {
    const { random } = this.#options;
    this.mutations += 1;
    const lan = this.#lans.get(topology);
    const isUnfit = random.chance(UNFIT_CHANCE);
    const name = lan ?? `lan${this.mutations}`;
    const body = { op: lan === undefined ? 'add_lan' : 'remove_lan', payload: isUnfit ? {} : { name } };
    const answer = await this.#ask(`/topologies/${topology}/mutations`, body);
    if (answer === undefined || answer.status === 503) return; // Whether it was taken nobody knows; the next one is another.
    const text = await answer.text();
    if (answer.status !== 202) return void this.problems.push(`a mutation was answered ${answer.status}: ${text}`);
    this.accepted.add(String(JSON.parse(text).mutation_id));
    if (isUnfit) return;
    if (lan === undefined) this.#lans.set(topology, name);
    else this.#lans.delete(topology);
  }

  /** Forms an identity, or merges two, as a worker beside the nodes would. */
  async identify(): Promise<void> {
    const { db, random } = this.#options;
    const uuid = crypto.randomUUID();
    const winner = this.#formed.at(-1);
    const loser = this.#formed.length > 2 && random.chance(MERGE_CHANCE) ? this.#formed[0] : undefined;
    try {
      await db.transaction().execute(async (trx) => {
        const at = new Date().toISOString();
        if (loser === undefined || winner === undefined) {
          await trx
            .insertInto('attacker_identities')
            .values(identityRow(uuid, 1, at))
            .execute();
          await appendToOutbox(trx, [createEvent('identity.formed', 'formed', { identity_uuid: uuid })]);
        } else {
          await trx
            .updateTable('attacker_identities')
            .set({ merged_into_uuid: winner, updated_at: at })
            .where('uuid', '=', loser)
            .execute();
          await appendToOutbox(trx, [createEvent('identity.merged', 'merged', { loser_uuid: loser })]);
        }
      });
    } catch {
      return; // The database is away: nothing has happened, or nobody knows; what the tables say counts.
    }
    this.identities += 1;
    if (loser === undefined) this.#formed.push(uuid);
    else this.#formed.shift();
  }

  /** Ends at once: nothing is tried again. */
  abandon(): Promise<void> {
    this.#abandoned = true;
    for (const producer of this.#producers) producer.close();
    return this.stop();
  }

  async #repeat(pauseMs: number, act: () => Promise<void>): Promise<void> {
    while (!this.#stopped) {
      await act();
      await Bun.sleep(pauseMs * (0.5 + this.#options.random.next()));
    }
  }

  /** @returns `undefined` when the answer is not known */
  async #ask(path: string, body: unknown): Promise<Response | undefined> {
    const url = this.#anyUrl();
    if (url === undefined) return undefined;
    try {
      return await Promise.race([
        call(url, this.#options.token, 'POST', path, body),
        Bun.sleep(ANSWER_MS).then(() => undefined),
      ]);
    } catch {
      return undefined; // The node is down, or went down.
    }
  }

  #anyUrl(): string | undefined {
    const [first, ...others] = this.#options.urls();
    return first === undefined ? undefined : this.#options.random.pick([first, ...others]);
  }
}
