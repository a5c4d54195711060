import type { Db, Trx } from '../db/database.ts';
import { releaseLease, takeLease } from '../db/leases.ts';

/** A lease that is renewed until it is released, or until it could not be in time. */
export class KeptLease {
  readonly #db: Db;
  readonly #name: string;
  readonly #holder: string;
  readonly #ttlMs: number;
  readonly #timer: Timer;
  #endsAt: number;
  #renewal: Promise<void> = Promise.resolve();

  private constructor(db: Db, name: string, holder: string, ttlMs: number, takenAt: number) {
    this.#db = db;
    this.#name = name;
    this.#holder = holder;
    this.#ttlMs = ttlMs;
    this.#endsAt = takenAt + ttlMs;
    this.#timer = setInterval(() => {
      this.#renewal = this.#renew();
    }, ttlMs / 3);
  }

  /**
   * @param ttlMs milliseconds after which another holder may take it when this process is gone
   * @returns `undefined` when somebody else holds it
   */
  static async take(db: Db, name: string, holder: string, ttlMs: number): Promise<KeptLease | undefined> {
    const now = Date.now();
    const term = await takeLease(db, name, holder, ttlMs, now);
    return term === undefined ? undefined : new KeptLease(db, name, holder, ttlMs, now);
  }

  /** Whether nobody else can have taken it, by this process's clock. */
  get isHeld(): boolean {
    return Date.now() < this.#endsAt;
  }

  /**
   * Whether it is still ours, and stays so until the transaction ends: the row is locked, so that whoever finds the lease
   * expired meanwhile waits for the commit.
   */
  async isHeldIn(trx: Trx): Promise<boolean> {
    const row = await trx
      .updateTable('leases')
      .set((eb) => ({ holder: eb.ref('holder') }))
      .where('name', '=', this.#name)
      .where('holder', '=', this.#holder)
      .returning('name')
      .executeTakeFirst();
    if (row === undefined) this.#endsAt = 0;
    return row !== undefined;
  }

  /** Gives it back. Safe when it has been lost. */
  async release(): Promise<void> {
    clearInterval(this.#timer);
    // A renewal that came after the deletion would take the lease once more.
    await this.#renewal;
    await releaseLease(this.#db, this.#name, this.#holder);
  }

  async #renew(): Promise<void> {
    const now = Date.now();
    try {
      const term = await takeLease(this.#db, this.#name, this.#holder, this.#ttlMs, now);
      this.#endsAt = term === undefined ? 0 : now + this.#ttlMs;
    } catch {
      // The database is away. The next renewal tries again; until one succeeds the lease runs out.
    }
  }
}
