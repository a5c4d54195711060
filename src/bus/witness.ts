import type { Db } from '../db/database.ts';
import type { Log } from '../telemetry/log.ts';
import type { EventLog } from './event-log.ts';

/** How often the witness is compared and moved on; what comes in between has no witness yet. */
const TESTIFY_MS = 1000;
/** Epochs that are remembered: each is one flush or one loss. */
const MAX_EPOCHS = 200;

/**
 * The database's memory of the log. Redis may come back with older data, and neither a node's memory nor a setting can be
 * trusted to notice: the node that saw the newest events may have died with it, and all may have been restarted. So the
 * relay's leader writes down where the log stands, and compares before it writes. A log that does not hold what was
 * written has lost events: its epoch is rotated and every client starts from a fresh snapshot (design, invariant 3).
 */
export class LogWitness {
  readonly #db: Db;
  readonly #log: Pick<EventLog, 'testify'>;
  readonly #logger: Log;
  #checkedAt = Number.NEGATIVE_INFINITY;

  constructor(db: Db, log: Pick<EventLog, 'testify'>, logger: Log) {
    this.#db = db;
    this.#log = log;
    this.#logger = logger;
  }

  /** Compares, unless it has just been done. @param term of the relay's leadership */
  async keep(term: number, now = performance.now()): Promise<void> {
    if (now - this.#checkedAt < TESTIFY_MS) return;
    await this.testify(term);
    this.#checkedAt = now;
  }

  /**
   * Compares the log with what is known of it, and writes down where it stands now.
   * @throws {FencedOffError} when another relay leads
   */
  async testify(term: number): Promise<void> {
    const known = await this.#db
      .selectFrom('log_witness')
      .select(['epoch', 'log_offset', 'proof'])
      .orderBy('seq', 'desc')
      .limit(MAX_EPOCHS)
      .execute();
    const [row, ...before] = known;
    const newest = row && { epoch: row.epoch, offset: row.log_offset, proof: row.proof };
    const stands = await this.#log.testify({ newest, epochs: before.map(({ epoch }) => epoch) }, term);
    if (stands.rotated) {
      this.#logger.error('redis has lost events that were published; all clients are reset', {
        lost_after: `${newest?.epoch}.${stands.offset}`,
        known: newest && `${newest.epoch}.${newest.offset}`,
        epoch: stands.epoch,
      });
    }
    if (newest?.epoch === stands.epoch && newest.offset === stands.offset) return;
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
  }

  async #prune(oldest: string): Promise<void> {
    await this.#db.deleteFrom('log_witness').where('epoch', '=', oldest).execute();
  }
}
