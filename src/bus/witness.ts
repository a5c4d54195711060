import type { Db } from '../db/database.ts';
import type { Log } from '../telemetry/log.ts';
import { type EventLog, LogReplacedError, type WitnessedPlace } from './event-log.ts';

/** How often the witness is compared and moved on by itself: the events of producers without a row have none in between. */
const TESTIFY_MS = 1000;
/** Epochs that are remembered: each is one flush or one loss. */
const MAX_EPOCHS = 200;

/**
 * The database's memory of the log. Redis may come back with older data, and neither a node's memory nor a setting can be
 * trusted to notice: the node that saw the newest events may have died with it, and all may have been restarted. So the
 * relay's leader writes down where the log stands, before it deletes what it has published, and compares before it writes.
 * A log that does not hold what was written has lost events: its epoch is rotated and every client starts from a fresh
 * snapshot (design, invariant 3).
 */
export class LogWitness {
  readonly #db: Db;
  readonly #eventLog: Pick<EventLog, 'testify'>;
  readonly #logger: Log;
  #known: WitnessedPlace | undefined;
  #term: number | undefined;
  #checkedAt = Number.NEGATIVE_INFINITY;

  constructor(db: Db, eventLog: Pick<EventLog, 'testify'>, logger: Log) {
    this.#db = db;
    this.#eventLog = eventLog;
    this.#logger = logger;
  }

  /**
   * Compares, unless it has just been done.
   * @param term of the relay's leadership: in another one, another node may have written
   * @returns what is known to be published
   */
  async keep(term: number, now = performance.now()): Promise<WitnessedPlace> {
    const isRecent = term === this.#term && now - this.#checkedAt < TESTIFY_MS;
    if (isRecent && this.#known !== undefined) return this.#known;
    const known = await this.testify(term);
    this.#checkedAt = now;
    return known;
  }

  /**
   * Writes down that all up to a place is published; what was published may be deleted afterwards.
   * @param from what was known when it was published
   * @throws {LogReplacedError} when something else is known by now
   */
  async moveOn(from: WitnessedPlace, to: WitnessedPlace): Promise<void> {
    this.#known = undefined;
    if (to.offset !== from.offset) {
      const { numUpdatedRows } = await this.#db
        .updateTable('log_witness')
        .set({ log_offset: to.offset, proof: to.proof })
        .where('epoch', '=', from.epoch)
        .where('log_offset', '=', from.offset)
        .where('proof', '=', from.proof)
        .executeTakeFirst();
      if (numUpdatedRows === 0n) throw new LogReplacedError();
    }
    this.#known = to;
  }

  /**
   * Compares the log with what is known of it, and writes down where it stands now.
   * @returns where it stands
   * @throws {FencedOffError} when another relay leads
   */
  async testify(term: number): Promise<WitnessedPlace> {
    this.#known = undefined;
    const { epoch, offset, proof } = await this.#compare(term);
    this.#term = term;
    this.#known = { epoch, offset, proof };
    return this.#known;
  }

  async #compare(term: number): Promise<WitnessedPlace> {
    const known = await this.#db
      .selectFrom('log_witness')
      .select(['epoch', 'log_offset', 'proof'])
      .orderBy('seq', 'desc')
      .limit(MAX_EPOCHS)
      .execute();
    const [row, ...before] = known;
    const newest = row && { epoch: row.epoch, offset: row.log_offset, proof: row.proof };
    const stands = await this.#eventLog.testify({ newest, epochs: before.map(({ epoch }) => epoch) }, term);
    if (stands.rotated) {
      this.#logger.error('redis has lost events that were published; all clients are reset', {
        lost_after: `${newest?.epoch}.${stands.offset}`,
        known: newest && `${newest.epoch}.${newest.offset}`,
        epoch: stands.epoch,
      });
    }
    if (newest?.epoch === stands.epoch && newest.offset === stands.offset) return stands;
    // A leader that slept must not put an older place over a newer one: its epoch is no longer the newest row, and
    // within an epoch places only rise.
    await this.#db
      .insertInto('log_witness')
      .values({ epoch: stands.epoch, log_offset: stands.offset, proof: stands.proof })
      .onConflict((conflict) =>
        conflict
          .column('epoch')
          .doUpdateSet({ log_offset: stands.offset, proof: stands.proof })
          .where('log_witness.log_offset', '<', stands.offset),
      )
      .execute();
    if (known.length >= MAX_EPOCHS) await this.#prune(known.at(-1)?.epoch ?? '');
    return stands;
  }

  async #prune(oldest: string): Promise<void> {
    await this.#db.deleteFrom('log_witness').where('epoch', '=', oldest).execute();
  }
}
