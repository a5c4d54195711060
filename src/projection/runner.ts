import { sql } from 'kysely';
import type { LogEntry } from '../bus/entry.ts';
import type { LogHistory, LogPlace } from '../bus/log-history.ts';
import { matcher } from '../bus/topic.ts';
import type { Db, Engine, Trx } from '../db/database.ts';
import { relaxedTransaction } from '../db/relaxed.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { Clearing } from './clearing.ts';
import {
  addCounts,
  beginPurge,
  FencedOff,
  findEpoch,
  findStanding,
  forgetChannels,
  forgetEvents,
  forgetSetAside,
  type Gap,
  moveInChannels,
  moveOn,
  noteGap,
  raiseEpoch,
  rememberEvents,
  renumberEvents,
  type Standing,
  standingOf,
} from './places.ts';
import { type LoggedEvent, loggedEvent, type Projection } from './projection.ts';
import { PURGED, wasAskedFor } from './purge.ts';

export interface RunnerParts {
  readonly db: Db;
  readonly engine: Engine;
  readonly history: Pick<LogHistory, 'read' | 'range'>;
  readonly logger: Log;
  /** Ids of events that are remembered: more than the log keeps entries, so that what is read twice is known. */
  readonly memory: number;
  /** Nobody waits for the event loop of this process: transactions may be longer, which costs less; default false. */
  readonly servesNobody?: boolean;
  /** The protections of the count; a negative control hands in one that lacks something. */
  readonly protections?: Protections;
}

/** What makes each event count once. */
export interface Protections {
  /** The projection's place moves only from where it was found. */
  readonly moveOn: typeof moveOn;
  /** Which events were not counted before. */
  readonly rememberEvents: typeof rememberEvents;
}

/** Milliseconds that a transaction aims at: with SQLite the whole process waits for it, and other processes that write. */
const AIM_MS = { serving: { sqlite: 6, postgres: 200 }, background: { sqlite: 100, postgres: 200 } } as const;
/** Events of a transaction. It costs as much as a few of them to begin and to end one: fewer would be slower, not shorter. */
const EVENTS = { least: 20, most: 1000 } as const;
/** An event that fails so often by itself is set aside. */
const MOST_TRIES = 3;
/** So often progress over events that the projection does not know is written down, in milliseconds. */
const QUIET_COMMIT_MS = 1000;

interface Found {
  readonly entry: LogEntry;
  readonly event: LoggedEvent;
}

/** Moves one projection along the log. Not for itself alone: whoever leads calls {@link step}. */
export class Runner {
  readonly projection: Projection;
  readonly #parts: RunnerParts;
  readonly #protections: Protections;
  readonly #wants: (topic: string) => boolean;
  readonly #channels: ReadonlySet<string>;
  readonly #clearing: Clearing;
  /** What the database says; `undefined`: to be read again. */
  #stored: Standing | undefined;
  /** Where it stands in the log: what lies between has no event for it. */
  #at: Standing | undefined;
  /** Read and not yet looked at. */
  #ahead: readonly LogEntry[] = [];
  /** Epoch → offset up to which its events' ids are not remembered any more. */
  readonly #forgotten = new Map<string, number>();
  #count: number = EVENTS.least;
  #tries = 0;
  #committedAt = Number.NEGATIVE_INFINITY;
  #checkedAt = Number.NEGATIVE_INFINITY;

  constructor(projection: Projection, parts: RunnerParts) {
    this.projection = projection;
    this.#parts = parts;
    this.#protections = parts.protections ?? { moveOn, rememberEvents };
    this.#wants = matcher(projection.topics);
    this.#channels = new Set(projection.channels);
    this.#clearing = new Clearing(projection, parts.db, parts.engine);
  }

  /** Forgets what it has in memory: somebody else may have led meanwhile. */
  forget(): void {
    this.#stored = undefined;
    this.#at = undefined;
    this.#ahead = [];
    this.#forgotten.clear();
  }

  /**
   * Looks at the next events and commits what becomes of them.
   * @returns whether there may be more
   * @throws whatever the database or Redis throws; call it again later
   */
  async step(): Promise<boolean> {
    try {
      return await this.#step();
    } catch (error) {
      // What memory says may not be what the database holds.
      this.forget();
      if (error instanceof FencedOff) return false;
      throw error;
    }
  }

  async #step(): Promise<boolean> {
    const at = await this.#place();
    if (at === undefined) return false;
    if (at === 'clearing') {
      // Whoever asked for it may have died.
      await this.#clearing.step();
      return true;
    }
    if (this.#ahead.length === 0) {
      const part = await this.#parts.history.read(at);
      if (part.kind === 'replaced') return this.#realign(at);
      if (part.kind === 'trimmed') return this.#skipGap(at, part.from);
      if (part.epoch !== at.epoch) return this.#rename(at, part.epoch);
      this.#ahead = part.entries;
    }
    if (this.#ahead.length > 0) return this.#look();
    await this.#writeDown();
    return this.#wasMoved();
  }

  async #place(): Promise<Standing | 'clearing' | undefined> {
    if (this.#at !== undefined) return this.#at;
    const row = await findStanding(this.#parts.db, this.projection);
    // Rows of another version are another's: they have to be rebuilt, or that node has to go.
    if (row.version !== this.projection.version) return undefined;
    if (row.clearing !== 0) return 'clearing';
    this.#stored = standingOf(row);
    this.#at = this.#stored;
    return this.#at;
  }

  /** Looks at as many entries as one transaction is to hold. */
  async #look(): Promise<boolean> {
    const at = this.#at;
    if (at === undefined) return true;
    const found: Found[] = [];
    const unreadable: LogEntry[] = [];
    const looked: LogEntry[] = [];
    let before: Pick<LogPlace, 'offset' | 'proof'> = at;
    for (const entry of this.#ahead) {
      if (entry.offset !== before.offset + 1 || entry.before !== before.proof) break;
      if (this.projection.isPurged === true && entry.topic === PURGED) {
        // By itself: what stands before it is committed, and goes.
        if (looked.length === 0) return this.#purge(at, entry);
        break;
      }
      if (found.length >= this.#count) break;
      if (this.#wants(entry.topic)) {
        const event = loggedEvent(entry);
        if (event === undefined) unreadable.push(entry);
        else found.push({ entry, event });
      }
      looked.push(entry);
      before = entry;
    }
    const last = looked.at(-1);
    if (last === undefined) {
      // What was read does not continue what is known: read again, and see what the log says.
      this.forget();
      return true;
    }
    const eventTs = timeOfEntry(last) ?? at.eventTs;
    const to: Standing = { ...at, offset: last.offset, proof: last.proof, eventTs };
    if (found.length === 0 && unreadable.length === 0) {
      this.#at = to;
      this.#ahead = this.#ahead.slice(looked.length);
      if (
        this.#channels.size > 0 &&
        looked.some(({ places }) => places.some(({ channel }) => this.#channels.has(channel)))
      ) {
        await this.#commit(looked, [], 0, to);
      } else await this.#writeDown();
      return true;
    }
    await this.#tryToCommit(looked, found, unreadable.length, to);
    this.#ahead = this.#ahead.slice(looked.length);
    return true;
  }

  /** All that follows from what stands before this event is given up, if somebody who may has asked for that. */
  async #purge(at: Standing, entry: LogEntry): Promise<boolean> {
    const { name } = this.projection;
    const to: Standing = { ...at, offset: entry.offset, proof: entry.proof, eventTs: timeOfEntry(entry) ?? at.eventTs };
    const from = this.#stored ?? to;
    await relaxedTransaction(this.#parts.db, this.#parts.engine, async (trx) => {
      await this.#protections.moveOn(trx, this.projection, from, to);
      await moveInChannels(trx, name, this.#placesIn([entry]));
      const { epoch, offset: log_offset, id: event_id } = entry;
      const told = { projection: name, event_id, ordinal: from.counted + 1, epoch, log_offset };
      const isMeant = await wasAskedFor(trx, event_id);
      // Told again, by a log that came back older, it is over.
      const isFresh =
        isMeant && (await this.#protections.rememberEvents(trx, this.#parts.engine, [told])).has(event_id);
      const none = { counted: 0, skipped: 0, repeated: 0, set_aside: 0 };
      await addCounts(trx, name, isFresh ? { ...none, counted: 1 } : { ...none, skipped: 1 });
      if (!isFresh) return;
      this.#parts.logger.warn('the rows of a projection are purged', { projection: name, event: event_id });
      await beginPurge(trx, this.projection);
    });
    // Where it stands, and whether rows are to go, is read anew.
    this.forget();
    return true;
  }

  async #tryToCommit(
    looked: readonly LogEntry[],
    found: readonly Found[],
    skipped: number,
    to: Standing,
  ): Promise<void> {
    const began = performance.now();
    try {
      await this.#commit(looked, found, skipped, to);
    } catch (error) {
      if (error instanceof FencedOff) throw error;
      // One by one from here on, until the one is found that nobody can apply.
      this.#tries = found.length > 1 ? 0 : this.#tries + 1;
      this.#count = 1;
      throw error;
    }
    this.#tries = 0;
    const took = performance.now() - began;
    const aimMs = AIM_MS[this.#parts.servesNobody ? 'background' : 'serving'][this.#parts.engine];
    const fitting = Math.floor((this.#count * aimMs) / Math.max(took, 0.1));
    // Only a full transaction says what one costs; and it grows no faster than twice.
    if (found.length >= this.#count || fitting < this.#count) {
      this.#count = Math.min(EVENTS.most, Math.max(EVENTS.least, fitting), this.#count * 2);
    }
  }

  async #commit(looked: readonly LogEntry[], found: readonly Found[], skipped: number, to: Standing): Promise<void> {
    const from = this.#stored ?? to;
    const { name } = this.projection;
    const counted = await relaxedTransaction(this.#parts.db, this.#parts.engine, async (trx) => {
      await this.#protections.moveOn(trx, this.projection, from, to);
      await moveInChannels(trx, name, this.#placesIn(looked));
      if (found.length === 0) {
        if (skipped > 0) await addCounts(trx, name, { counted: 0, skipped, repeated: 0, set_aside: 0 });
        return 0;
      }
      const { fresh, known } = await this.#tellApart(trx, found, from.counted);
      const outcome = await this.#apply(trx, fresh);
      if (known.length > 0) await this.projection.again?.(trx, known);
      await addCounts(trx, name, {
        counted: fresh.length,
        skipped: skipped + outcome.skipped,
        repeated: found.length - fresh.length,
        set_aside: outcome.setAside,
      });
      const forgotten = from.counted + fresh.length - this.#parts.memory;
      if (forgotten > 0) {
        await forgetEvents(trx, name, forgotten);
        this.#forgotten.clear();
      }
      return fresh.length;
    });
    this.#stored = { ...to, counted: from.counted + counted };
    this.#at = this.#stored;
    this.#committedAt = performance.now();
  }

  /** Which events were counted under another number: before the log was lost, replaced, or began again. */
  async #tellApart(
    trx: Trx,
    found: readonly Found[],
    counted: number,
  ): Promise<{ fresh: readonly LoggedEvent[]; known: readonly LoggedEvent[] }> {
    const { name } = this.projection;
    const candidates: Found[] = [];
    for (const one of found) {
      const { epoch, offset } = one.entry;
      const limit = this.#forgotten.get(epoch) ?? (await findEpoch(trx, name, epoch)).forgotten;
      this.#forgotten.set(epoch, limit);
      // What is so old that its id is not remembered any more was counted: the memory reaches back further than the log.
      if (offset > limit) candidates.push(one);
    }
    if (candidates.length === 0) return { fresh: [], known: [] };
    const unique = [...new Map(candidates.map((one) => [one.event.id, one])).values()];
    const fresh = await this.#protections.rememberEvents(
      trx,
      this.#parts.engine,
      unique.map(({ entry, event }, index) => ({
        projection: name,
        event_id: event.id,
        ordinal: counted + index + 1,
        epoch: entry.epoch,
        log_offset: entry.offset,
      })),
    );
    const events = unique.map(({ event }) => event);
    const uncounted = events.filter(({ id }) => fresh.has(id));
    const known = events.filter(({ id }) => !fresh.has(id));
    // Those that were known have left holes, and what is counted next would stand before what is counted now.
    if (known.length > 0) await renumberEvents(trx, name, uncounted, counted);
    return { fresh: uncounted, known };
  }

  async #apply(trx: Trx, events: readonly LoggedEvent[]): Promise<{ skipped: number; setAside: number }> {
    if (events.length === 0) return { skipped: 0, setAside: 0 };
    const [only] = events;
    if (this.#tries < MOST_TRIES || events.length > 1 || only === undefined) {
      return { skipped: await this.projection.apply(trx, events), setAside: 0 };
    }
    // That the rest of the transaction succeeds proves that the database is well, and the event is not.
    await sql`savepoint apply_event`.execute(trx);
    try {
      const skipped = await this.projection.apply(trx, events);
      await sql`release savepoint apply_event`.execute(trx);
      return { skipped, setAside: 0 };
    } catch (error) {
      await sql`rollback to savepoint apply_event`.execute(trx);
      await this.#setAside(trx, only, describeError(error));
      return { skipped: 0, setAside: 1 };
    }
  }

  async #setAside(trx: Trx, event: LoggedEvent, error: string): Promise<void> {
    const { name } = this.projection;
    this.#parts.logger.error('an event could not be applied and is set aside', {
      projection: name,
      event: event.id,
      topic: event.topic,
      error,
    });
    await trx
      .insertInto('projection_set_aside')
      .values({
        projection: name,
        event_id: event.id,
        epoch: event.epoch,
        log_offset: event.offsetIn('log') ?? 0,
        topic: event.topic,
        error: error.slice(0, 2000).replaceAll('\0', '').toWellFormed(),
        set_aside_at: new Date().toISOString(),
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    await forgetSetAside(trx, name);
  }

  #placesIn(looked: readonly LogEntry[]): Map<string, { offset: number; proof: string }> {
    const places = new Map<string, { offset: number; proof: string }>();
    if (this.#channels.size === 0) return places;
    for (const entry of looked) {
      for (const { channel, offset, proof } of entry.places) {
        if (this.#channels.has(channel)) places.set(channel, { offset, proof });
      }
    }
    return places;
  }

  /** Writes down how far it has come over events that do not concern it, now and then. */
  async #writeDown(): Promise<void> {
    const [stored, at] = [this.#stored, this.#at];
    if (stored === undefined || at === undefined) return;
    const isSame = stored.offset === at.offset && stored.epoch === at.epoch;
    if (!isSame && performance.now() - this.#committedAt >= QUIET_COMMIT_MS) await this.#commit([], [], 0, at);
  }

  /** Asks now and then, with nothing to commit, whether somebody has rebuilt it. @returns true: read again */
  async #wasMoved(): Promise<boolean> {
    const [stored, now] = [this.#stored, performance.now()];
    if (stored === undefined || now - this.#checkedAt < QUIET_COMMIT_MS) return false;
    this.#checkedAt = now;
    const row = await findStanding(this.#parts.db, this.projection);
    const { epoch, offset, counted } = standingOf(row);
    const isSame = epoch === stored.epoch && offset === stored.offset && counted === stored.counted;
    if (isSame && row.clearing === 0) return false;
    this.forget();
    return true;
  }

  /** What comes next was trimmed before it was read: the projection goes on behind it, and says so. */
  async #skipGap(at: Standing, from: LogPlace): Promise<boolean> {
    const gap: Gap = { epoch: at.epoch, from: at.offset + 1, to: from.offset, noticed_at: new Date().toISOString() };
    await this.#jump(at, { ...at, ...from }, { gap, reached: from.offset });
    return true;
  }

  /** The log holds all that was read and has another epoch: events were lost that had not been. */
  async #rename(at: Standing, epoch: string): Promise<boolean> {
    const { end } = await this.#parts.history.range();
    await this.#jump(at, { ...at, epoch }, { reached: end.offset, keepsPlaces: true });
    return true;
  }

  /** The log is another one, or came back older. It is read from its beginning; what was counted is known by its id. */
  async #realign(at: Standing): Promise<boolean> {
    const { name } = this.projection;
    const { begin, oldestEpoch, end } = await this.#parts.history.range();
    const known = await this.#parts.db.transaction().execute((trx) => findEpoch(trx, name, oldestEpoch));
    const reached = oldestEpoch === at.epoch ? Math.max(known.reached, at.offset) : known.reached;
    const noticed_at = new Date().toISOString();
    const gap = { epoch: oldestEpoch, from: reached + 1, to: begin.offset, noticed_at };
    if (at.epoch !== '') {
      this.#parts.logger.warn('the log was replaced; a projection reads it again', {
        projection: name,
        was: `${at.epoch}.${at.offset}`,
        from: `${begin.epoch}.${begin.offset}`,
      });
    }
    const to: Standing = { ...at, ...begin, alignedUntil: end.offset };
    await this.#jump(at, to, { reached: at.offset, ...(reached >= begin.offset ? {} : { gap }) });
    return true;
  }

  async #jump(
    at: Standing,
    to: Standing,
    { gap, reached, keepsPlaces = false }: { gap?: Gap; reached: number; keepsPlaces?: boolean },
  ): Promise<void> {
    const { name } = this.projection;
    const from = this.#stored ?? to;
    if (gap !== undefined) {
      this.#parts.logger.error('history was gone before a projection had read it', { projection: name, ...gap });
    }
    await relaxedTransaction(this.#parts.db, this.#parts.engine, async (trx) => {
      await this.#protections.moveOn(trx, this.projection, from, to);
      if (at.epoch !== '') await raiseEpoch(trx, name, at.epoch, { reached });
      if (!keepsPlaces) await forgetChannels(trx, name);
      if (gap !== undefined) await noteGap(trx, name, gap);
    });
    this.#stored = { ...to, counted: from.counted };
    this.#at = this.#stored;
    this.#ahead = [];
  }
}

/**
 * When an entry's event happened, in seconds since the epoch. It stands before the payload, and inside a JSON string no quote
 * stands without a backslash: the first match is the envelope's. Parsing all that does not concern a projection would cost more.
 */
function timeOfEntry({ data }: LogEntry): number | undefined {
  const [, seconds] = /,"ts":(\d+(?:\.\d+)?)/.exec(data.slice(0, 8192)) ?? [];
  return seconds === undefined ? undefined : Number(seconds);
}
