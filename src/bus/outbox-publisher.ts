import { ReplyError } from 'ioredis';
import type { Db } from '../db/database.ts';
import type { OutboxRow } from '../db/schema.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { channelsOf } from './channel.ts';
import { EventError } from './event.ts';
import { type EventLog, LogReplacedError, type Publication } from './event-log.ts';
import { deleteOutboxRows, nextOutboxRows } from './outbox.ts';
import { excerpt, noticeOf, publicationOf, substituteFor } from './outbox-publication.ts';
import { setAside } from './set-aside.ts';
import { TopicError } from './topic.ts';
import { LogWitness } from './witness.ts';

const MAX_ROWS = 200;
/** Of payload, read at once; decoded and encoded again it takes several times as much. */
const MAX_BYTES = 1024 * 1024;
/** A row that Redis refuses so often in a row, while it takes others, is set aside. */
const MAX_TRIES = 5;
const TRY_AGAIN_MS = 100;
/** So many channels are known to refuse events; beyond, their rows are tried as often as any. */
const MAX_BROKEN = 1000;

/** What Redis answers when it can serve nobody at the moment, or not here; the events have no part in it. */
const SERVER_STATE =
  /^(?:LOADING|BUSY|UNKILLABLE|READONLY|OOM|MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|CROSSSLOT|NOAUTH|NOPERM|WRONGPASS|NOSCRIPT|EXECABORT)\b/;

interface Prepared {
  readonly row: OutboxRow;
  readonly publication: Publication;
}

/**
 * Publishes what waits in the outbox, in order. One row never stops the others for ever: what cannot be published although
 * Redis takes events is set aside, with a substitute in its place where that can be.
 */
export class OutboxPublisher {
  readonly #db: Db;
  readonly #eventLog: EventLog;
  readonly #witness: LogWitness;
  readonly #logger: Log;
  /** The row at the head that failed, and how often in a row. */
  #failing: { readonly seq: number; readonly tries: number } | undefined;
  /** Channels whose event was set aside and that have taken none since: what follows is not tried as long. */
  readonly #broken = new Set<string>();

  constructor(db: Db, eventLog: EventLog, logger: Log, witness = new LogWitness(db, eventLog, logger)) {
    this.#db = db;
    this.#eventLog = eventLog;
    this.#witness = witness;
    this.#logger = logger;
  }

  /**
   * Publishes some of the rows.
   * @param term the term of the relay
   * @returns true when there may be more
   * @throws when Redis or the database cannot be reached or serves nobody; nothing is lost by it
   */
  async publishNext(term: number): Promise<boolean> {
    const { rows, isMore } = await nextOutboxRows(this.#db, MAX_ROWS, MAX_BYTES);
    if (rows.length === 0) return false;
    try {
      return (await this.#publish(rows, term)) ? isMore : true;
    } catch (error) {
      this.#failing = undefined;
      if (!(error instanceof LogReplacedError)) throw error;
      // All is still there, and goes where the log then stands.
      await this.#witness.testify(term);
      return true;
    }
  }

  /**
   * Publishes, and writes down that it did so before anybody deletes a row: a row that is gone has a witness of its event.
   */
  async #relay(publications: readonly Publication[], term: number): Promise<void> {
    const known = await this.#witness.keep(term);
    await this.#witness.moveOn(known, await this.#eventLog.relay(publications, term, known));
  }

  /** @returns false when it ended at a row that could not be published */
  async #publish(rows: readonly OutboxRow[], term: number): Promise<boolean> {
    const { ready, unreadable } = prepare(rows);
    if (ready.length > 0 && !(await this.#publishReady(ready, term))) return false;
    if (unreadable === undefined) return true;
    // No further try could come out differently.
    await this.#giveUp(unreadable.row, unreadable.error, 1, term);
    return false;
  }

  async #publishReady(ready: readonly Prepared[], term: number): Promise<boolean> {
    try {
      await this.#relay(
        ready.map(({ publication }) => publication),
        term,
      );
    } catch (error) {
      if (!isAboutEvent(error)) throw error;
      return this.#publishSingly(ready, term);
    }
    await this.#published(ready);
    return true;
  }

  /** Finds the row that is at fault. Those before it are published, some of them again, which their ids make harmless. */
  async #publishSingly(ready: readonly Prepared[], term: number): Promise<boolean> {
    for (const prepared of ready) {
      try {
        await this.#relay([prepared.publication], term);
      } catch (error) {
        if (!isAboutEvent(error)) throw error;
        await this.#refused(prepared, describeError(error), term);
        return false;
      }
      await this.#published([prepared]);
    }
    return true;
  }

  async #published(done: readonly Prepared[]): Promise<void> {
    const rows = done.map(({ row }) => row);
    await deleteOutboxRows(this.#db, rows);
    await this.#eventLog.acknowledge(rows.map((row) => row.event_id));
    this.#failing = undefined;
    if (this.#broken.size === 0) return;
    for (const channel of done.flatMap(channelsIn)) this.#broken.delete(channel);
  }

  async #refused(prepared: Prepared, error: string, term: number): Promise<void> {
    const { row } = prepared;
    const tries = this.#failing?.seq === row.seq ? this.#failing.tries + 1 : 1;
    this.#failing = { seq: row.seq, tries };
    const isBroken = channelsIn(prepared).some((channel) => this.#broken.has(channel));
    if (tries < MAX_TRIES && !isBroken) {
      const fields = { event: row.event_id, topic: row.topic, tries, error: excerpt(error) };
      if (tries === 1) this.#logger.warn('an event was refused; it is tried again', fields);
      await Bun.sleep(TRY_AGAIN_MS);
      return;
    }
    if (await this.#giveUp(row, error, tries, term)) return;
    if (this.#broken.size >= MAX_BROKEN) this.#broken.clear();
    for (const channel of channelsIn(prepared)) this.#broken.add(channel);
  }

  /**
   * Sets a row aside. Either publication proves that it is the row: Redis takes events.
   * @returns whether a substitute was published
   */
  async #giveUp(row: OutboxRow, error: string, tries: number, term: number): Promise<boolean> {
    const isSubstituted = await this.#substitute(row, error, term);
    if (!isSubstituted) await this.#relay([noticeOf(row, error)], term);
    await setAside(this.#db, row, { tries, error: excerpt(error), isSubstituted }, Date.now());
    this.#failing = undefined;
    this.#logger.error('an event cannot be published and is set aside', {
      event: excerpt(row.event_id),
      topic: excerpt(row.topic),
      tries,
      substituted: isSubstituted,
      error: excerpt(error),
    });
    if (isSubstituted) await this.#eventLog.acknowledge([row.event_id]);
    return isSubstituted;
  }

  async #substitute(row: OutboxRow, error: string, term: number): Promise<boolean> {
    try {
      await this.#relay([substituteFor(row, error)], term);
      return true;
    } catch (failure) {
      if (!isAboutEvent(failure)) throw failure;
      return false;
    }
  }
}

/** The rows up to the first that cannot be read, and that one. */
function prepare(rows: readonly OutboxRow[]) {
  const ready: Prepared[] = [];
  for (const row of rows) {
    try {
      ready.push({ row, publication: publicationOf(row) });
    } catch (error) {
      return { ready, unreadable: { row, error: describeError(error) } };
    }
  }
  return { ready };
}

/** Whether an event was refused for what it is, or for where it goes; not because Redis cannot be reached or serves nobody. */
function isAboutEvent(error: unknown): boolean {
  if (error instanceof EventError || error instanceof TopicError) return true;
  return error instanceof ReplyError && !SERVER_STATE.test(describeError(error));
}

const channelsIn = ({ publication }: Prepared) => channelsOf(publication.event);
