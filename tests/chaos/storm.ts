import { LOG_CHANNEL } from '../../src/bus/channel.ts';
import type { Engine } from '../../src/db/database.ts';
import { type Random, seeded } from '../support/random.ts';
import { until } from '../support/until.ts';
import type { StormClient, Tally } from './client.ts';
import { DRILLS, type Drill } from './drills.ts';
import { chooseFault, type Fault, type World } from './faults.ts';
import type { Moment } from './redis-server.ts';
import type { Report } from './report.ts';
import type { Sabotage } from './server.ts';
import { type Stage, setStage } from './stage.ts';

export interface StormOptions {
  /** Decides what is done in which order; when it happens the machine decides. */
  readonly seed: number;
  readonly database: Engine | 'private postgres';
  readonly nodes: number;
  readonly clients: number;
  /** Asked before each round: a number of faults, each recovered from, and then calm and the verdict. */
  readonly goesOn: (round: number) => boolean;
  readonly faultsPerRound: number;
  /** How much shorter than in the long storm faults last: 1 is not at all. */
  readonly haste: number;
  /** A client that is not current so long after a fault is a violation, in milliseconds. */
  readonly recoveryMs: number;
  /** It ends early when there are so many violations: more of them tell nothing new. */
  readonly mostViolations: number;
  /** What is done after the rounds, so that each protection is needed at least once. */
  readonly drills: readonly Drill[];
  /** A protection that the nodes do without: there must be violations. */
  readonly without?: Sabotage;
  /** Told of each fault and violation as it happens. */
  readonly say?: (line: string) => void;
  readonly onNodeLog?: (node: string, text: string) => void;
}

const MOST_MOMENTS = 20;
const COMPACT_ABOVE_BYTES = 64 * 1024 * 1024;
const TWO_AT_ONCE = 0.25;
/** Enough to fill the socket buffers of a client that has stopped reading (about 4 MB). */
const FLOOD = { events: 200, bytes: 30_000, chance: 0.15 } as const;
const LOOK_MS = 50;

/** Random faults under load, calm, the verdict; again and again. */
export class Storm {
  readonly #options: StormOptions;
  readonly #random: Random;
  readonly #stops: (() => Promise<unknown> | unknown)[] = [];
  readonly #startedAt = performance.now();
  readonly #faults = new Map<string, number[]>();
  readonly #tally: Tally = { frames: 0, resumes: 0, resets: new Map() };
  readonly #violations: string[] = [];
  readonly #moments: Moment[] = [];
  readonly #recent: string[] = [];
  #stage: Stage | undefined;
  #rounds = 0;
  #acknowledged = 0;
  #keeper: Timer | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: StormOptions) {
    this.#options = options;
    this.#random = seeded(options.seed);
  }

  get report(): Report {
    const load = this.#stage?.load;
    return {
      seconds: (performance.now() - this.#startedAt) / 1000,
      rounds: this.#rounds,
      faults: this.#faults,
      events: {
        published: load?.published ?? 0,
        acknowledged: this.#acknowledged + (load?.acknowledged.size ?? 0),
        mutations: load?.mutations ?? 0,
        identities: load?.identities ?? 0,
      },
      tally: this.#tally,
      violations: this.#violations,
    };
  }

  /** Runs until it is over, or until there are too many violations. Call {@link stop} afterwards, whatever happens. */
  async run(): Promise<Report> {
    const { goesOn, drills } = this.#options;
    const stage = await setStage({ ...this.#options, random: this.#random }, this.#stops);
    this.#stage = stage;
    this.#keeper = setInterval(() => this.#bringBack(stage), 30);
    await this.#calm(stage);
    while (this.#goesOn() && goesOn(this.#rounds)) {
      await this.#round(stage);
      this.#rounds += 1;
    }
    for (const drill of drills) {
      if (!this.#goesOn()) break;
      this.#did(`drill: ${drill}`);
      const current = () => this.#recovered(stage, `drill: ${drill}`);
      await DRILLS[drill]({ ...stage, everyoneBack: () => this.#everyoneBack(stage), current });
      await this.#calm(stage);
    }
    return this.report;
  }

  /** Ends every process that was started; safe to call twice, and at any moment. */
  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      clearInterval(this.#keeper);
      const giveUp = this.#stage?.load.abandon();
      for (const stop of this.#stops.toReversed()) await stop();
      await giveUp;
    })();
    return this.#stopping;
  }

  #goesOn(): boolean {
    return this.#stopping === undefined && this.#violations.length < this.#options.mostViolations;
  }

  // --- a round -------------------------------------------------------------------------------------------------------

  async #round(stage: Stage): Promise<void> {
    const { haste, faultsPerRound } = this.#options;
    const { redis, postgres, fleet, archive, channels } = stage;
    const random = this.#random;
    const world: World = { random, redis, postgres, fleet, archive, channels, moments: this.#moments, haste };
    stage.load.start();
    for (let count = 0; count < faultsPerRound && this.#goesOn(); count += 1) {
      this.#moments.push(await redis.moment());
      if (this.#moments.length > MOST_MOMENTS) this.#moments.shift();
      await this.#strike(stage, world);
    }
    await this.#calm(stage);
    if (await redis.compact(COMPACT_ABOVE_BYTES)) this.#moments.length = 0;
  }

  async #strike(stage: Stage, world: World): Promise<void> {
    const first = chooseFault(world);
    const faults: Fault[] = [first, ...(this.#random.chance(TWO_AT_ONCE) ? [chooseFault(world, first)] : [])];
    const kinds = faults.map(({ kind }) => kind).join(' + ');
    this.#did(kinds);
    const mischief = this.#mischief(stage);
    await Bun.sleep(this.#random.between(200, 1500) / world.haste);
    await Promise.all(faults.map((fault) => fault.strike(world)));
    await mischief.end();
    const ms = await this.#recovered(stage, kinds);
    for (const { kind } of faults) this.#faults.set(kind, [...(this.#faults.get(kind) ?? []), ms]);
  }

  /** Clients stall, go on, vanish and return, until it is ended. */
  #mischief(stage: Stage): { end(): Promise<void> } {
    let isOver = false;
    const [first, ...others] = stage.clients;
    const one = async () => {
      if (first === undefined) return;
      const client = this.#random.pick([first, ...others]);
      const dice = this.#random.next();
      if (dice < 0.25) client.stall();
      else if (dice < 0.5) client.go();
      else if (dice < 0.75) client.vanish();
      else await this.#connect(stage, client);
    };
    const run = async () => {
      if (this.#random.chance(FLOOD.chance)) await stage.load.flood(FLOOD.events, FLOOD.bytes);
      while (!isOver) {
        await one();
        await Bun.sleep(this.#random.between(30, 150));
      }
    };
    const running = run();
    return {
      end() {
        isOver = true;
        return running;
      },
    };
  }

  // --- recovery and calm ---------------------------------------------------------------------------------------------

  /**
   * Waits until every client has what the log holds now, or a later epoch.
   * @returns how long it took, in milliseconds
   */
  async #recovered(stage: Stage, after: string): Promise<number> {
    const startedAt = performance.now();
    this.#everyoneBack(stage);
    await this.#look(stage);
    let mark = this.#mark(stage);
    let behind: string[] = [];
    const isCurrent = async () => {
      await Bun.sleep(LOOK_MS);
      await this.#look(stage);
      if (stage.archive.epoch !== mark.epoch) mark = this.#mark(stage);
      behind = this.#behind(stage, mark.newest);
      return behind.length === 0 || !this.#goesOn();
    };
    await until('all clients to be current', isCurrent, this.#options.recoveryMs).catch((error) => {
      if (behind.length === 0) throw error;
      for (const text of behind) this.#violated(`after ${after}: ${text}`);
    });
    return performance.now() - startedAt;
  }

  /** No load, everybody reads, and then: every screen equals the database, and nothing is missing anywhere. */
  async #calm(stage: Stage): Promise<void> {
    const { load, archive, fleet, db } = stage;
    this.#everyoneBack(stage);
    await load.stop();
    let missing: string[] = [];
    const isCalm = async () => {
      await Bun.sleep(LOOK_MS);
      await this.#look(stage);
      missing = this.#behind(stage, this.#mark(stage).newest);
      const waiting = await db.selectFrom('outbox').select('seq').execute();
      if (waiting.length > 0) missing.push(`${waiting.length} events wait in the outbox`);
      for (const { screen, name, trail } of missing.length > 0 ? [] : stage.clients.map(namedScreen)) {
        const difference = await screen.differs(db);
        if (difference !== undefined) missing.push(`${name} ${difference}\n    ${trail}`);
      }
      return missing.length === 0 || !this.#goesOn();
    };
    // While the database comes back a query may fail.
    const look = () => isCalm().catch((error) => void missing.splice(0, missing.length, `nobody can look: ${error}`));
    const isQuiet = await until('calm', look, this.#options.recoveryMs).catch(() => false);
    if (!isQuiet) for (const text of missing) this.#violated(`in calm: ${text}`);
    for (const id of load.acknowledged) {
      if (!archive.past.seen.has(id)) this.#violated(`event ${id} was acknowledged and never in the log`);
    }
    await this.#everyMutationIsThere(stage);
    for (const text of [load.problems, fleet.problems, archive.past.problems].flatMap((list) => list.splice(0))) {
      this.#violated(text);
    }
    this.#acknowledged += load.acknowledged.size;
    load.acknowledged.clear();
    if (isQuiet) archive.forget();
  }

  async #everyMutationIsThere({ db, load }: Stage): Promise<void> {
    const ids = [...load.accepted];
    load.accepted.clear();
    if (ids.length === 0) return;
    const rows = await db.selectFrom('topology_mutations').select('id').where('id', 'in', ids).execute();
    const known = new Set(rows.map(({ id }) => id));
    for (const id of ids) if (!known.has(id)) this.#violated(`mutation ${id} was accepted and is not there`);
  }

  /** Copies the log, and checks what clients had got before that. */
  async #look({ archive, clients }: Stage): Promise<void> {
    const lives = clients.map((client) => ({ client, lived: client.takeLived() }));
    await archive.copy();
    for (const { client, lived } of lives) {
      for (const problem of client.examine(lived, this.#tally)) this.#violated(problem);
    }
  }

  #mark({ archive, channels }: Stage): { epoch: string; newest: ReadonlyMap<string, number> } {
    const newest = new Map([LOG_CHANNEL, ...channels].map((channel) => [channel, archive.newest(channel)]));
    return { epoch: archive.epoch, newest };
  }

  /** @param newest channel → the offset up to which everybody has to be */
  #behind({ archive, clients }: Stage, newest: ReadonlyMap<string, number>): string[] {
    return clients.flatMap((client) => {
      const { at, revision, watch, name } = client;
      const to = newest.get(watch.channel) ?? 0;
      const isHere = at?.epoch === archive.epoch && archive.past.stands(watch.channel, at) !== false;
      if (isHere && at.offset >= to) return [];
      // What it is not shown, and what its snapshot contained, moves nobody on.
      const due = archive.past.newest(archive.epoch, watch.channel, ({ offset, topic, revision: of }) => {
        return offset <= to && watch.shows(topic) && (of === 0 || of > revision);
      });
      if (isHere && at.offset >= due) return [];
      const log = `${archive.epoch}.${due}`;
      return [`${name} stands at ${at?.epoch}.${at?.offset}.${at?.proof}, the log at ${log}\n    ${client.trail()}`];
    });
  }

  // --- clients -------------------------------------------------------------------------------------------------------

  #everyoneBack(stage: Stage): void {
    for (const client of stage.clients) {
      client.away = false;
      client.go();
    }
    this.#bringBack(stage);
  }

  #bringBack(stage: Stage): void {
    for (const client of stage.clients) if (!client.away && !client.connected) void this.#connect(stage, client);
  }

  async #connect({ fleet }: Stage, client: StormClient): Promise<void> {
    const [first, ...others] = fleet.urls;
    if (first !== undefined) await client.connect(this.#random.pick([first, ...others]));
  }

  // --- telling -------------------------------------------------------------------------------------------------------

  #did(what: string): void {
    const at = ((performance.now() - this.#startedAt) / 1000).toFixed(1);
    this.#recent.push(`${at} s ${what}`);
    if (this.#recent.length > 6) this.#recent.shift();
    this.#options.say?.(`${at} s: ${what}`);
  }

  #violated(text: string): void {
    if (this.#violations.length >= this.#options.mostViolations) return;
    const violation = `seed ${this.#options.seed}, round ${this.#rounds}, after ${this.#recent.join(', ')}: ${text}`;
    this.#violations.push(violation);
    this.#options.say?.(`VIOLATION ${violation}`);
  }
}

function namedScreen(client: StormClient) {
  return { screen: client.screen, name: client.name, trail: client.trail() };
}
