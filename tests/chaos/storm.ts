import type { Engine } from '../../src/db/database.ts';
import { type Random, seeded } from '../support/random.ts';
import { until } from '../support/until.ts';
import type { Crowd } from './crowd.ts';
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
const LOOK_MS = 50;
/** More than a claim's lease and a mutator's poll. */
const CLAIMS_MS = 60_000;

/** Random faults under load, calm, the verdict; again and again. */
export class Storm {
  readonly #options: StormOptions;
  readonly #random: Random;
  readonly #stops: (() => Promise<unknown> | unknown)[] = [];
  readonly #startedAt = performance.now();
  readonly #faults = new Map<string, number[]>();
  readonly #violations: string[] = [];
  readonly #moments: Moment[] = [];
  readonly #recent: string[] = [];
  #setting: Promise<Stage> | undefined;
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
        bus: this.#stage?.bus.sent ?? 0,
        busLost: this.#stage?.bus.lost ?? 0,
      },
      tally: this.#stage?.crowd.tally ?? { frames: 0, resumes: 0, moves: 0, resets: new Map() },
      violations: this.#violations,
    };
  }

  /** Runs until it is over, or until there are too many violations. Call {@link stop} afterwards, whatever happens. */
  async run(): Promise<Report> {
    const { goesOn, drills } = this.#options;
    this.#setting = setStage({ ...this.#options, random: this.#random }, this.#stops);
    const stage = await this.#setting;
    this.#stage = stage;
    this.#keeper = setInterval(() => stage.crowd.bringBack(), 30);
    await this.#calm(stage);
    while (this.#goesOn() && goesOn(this.#rounds)) {
      await this.#round(stage);
      this.#rounds += 1;
    }
    await this.#everyMutationEnds(stage);
    for (const drill of drills) {
      if (!this.#goesOn()) break;
      this.#did(`drill: ${drill}`);
      const current = () => this.#recovered(stage, `drill: ${drill}`);
      await DRILLS[drill]({ ...stage, current });
      await this.#calm(stage);
    }
    return this.report;
  }

  /** Ends every process that was started; safe to call twice, and at any moment. */
  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      clearInterval(this.#keeper);
      await this.#setting?.catch(() => undefined); // What is being started has to be there to be stopped.
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
    const { redis, postgres, fleet, archive } = stage;
    const random = this.#random;
    const world: World = { random, redis, postgres, fleet, archive, moments: this.#moments, haste };
    stage.load.start();
    stage.bus.start();
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
    const mischief = stage.crowd.mischief();
    await Bun.sleep(this.#random.between(200, 1500) / world.haste);
    await Promise.all(faults.map((fault) => fault.strike(world)));
    await mischief.end();
    const ms = await this.#recovered(stage, kinds);
    for (const { kind } of faults) this.#faults.set(kind, [...(this.#faults.get(kind) ?? []), ms]);
  }

  // --- recovery and calm ---------------------------------------------------------------------------------------------

  /**
   * Waits until every client has what the log holds now, or a later epoch.
   * @returns how long it took, in milliseconds
   */
  async #recovered(stage: Stage, after: string): Promise<number> {
    const startedAt = performance.now();
    const { archive, crowd } = stage;
    crowd.everyoneBack();
    await this.#look(crowd);
    let mark = crowd.mark();
    let behind: string[] = [];
    const isCurrent = async () => {
      await Bun.sleep(LOOK_MS);
      await this.#look(crowd);
      if (archive.epoch !== mark.epoch) mark = crowd.mark();
      behind = crowd.behind(mark);
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
    const { load, bus, archive, crowd, fleet, db, recount } = stage;
    crowd.everyoneBack();
    await Promise.all([load.stop(), bus.stop()]);
    let missing: string[] = [];
    const isCalm = async () => {
      await Bun.sleep(LOOK_MS);
      await this.#look(crowd);
      missing = [...crowd.behind(crowd.mark()), ...bus.missing()];
      const waiting = await db.selectFrom('outbox').select('seq').execute();
      if (waiting.length > 0) missing.push(`${waiting.length} events wait in the outbox`);
      missing.push(...(await recount.behind()));
      if (missing.length === 0) missing = await crowd.misled(db);
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
    for (const text of [load.problems, bus.problems, fleet.problems, archive.past.problems].flatMap((list) =>
      list.splice(0),
    )) {
      this.#violated(text);
    }
    this.#acknowledged += load.acknowledged.size;
    load.acknowledged.clear();
    if (!isQuiet) return;
    for (const text of await recount.differs()) this.#violated(text);
    crowd.forget();
    bus.forget();
  }

  async #look(crowd: Crowd): Promise<void> {
    for (const problem of await crowd.look()) this.#violated(problem);
  }

  async #everyMutationIsThere({ db, load }: Stage): Promise<void> {
    const ids = [...load.accepted];
    load.accepted.clear();
    if (ids.length === 0) return;
    const rows = await db.selectFrom('topology_mutations').select('id').where('id', 'in', ids).execute();
    const known = new Set(rows.map(({ id }) => id));
    for (const id of ids) if (!known.has(id)) this.#violated(`mutation ${id} was accepted and is not there`);
  }

  /** What a dead mutator held is taken up when its claim ends. */
  async #everyMutationEnds({ db }: Stage): Promise<void> {
    const queued = () =>
      db.selectFrom('topology_mutations').select('id').where('state', 'in', ['pending', 'applying']).execute();
    const isDone = async () => !this.#goesOn() || (await queued()).length === 0;
    const isInTime = await until('an empty queue', isDone, CLAIMS_MS).catch(() => false);
    if (!isInTime) for (const { id } of await queued()) this.#violated(`mutation ${id} has not ended`);
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
