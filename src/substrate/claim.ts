import { Renewal } from '../bus/renewal.ts';
import type { Db, Trx } from '../db/database.ts';
import { lockRow } from '../db/row-lock.ts';
import { describeError } from '../errors.ts';
import { ClaimLost, type Fence, type Substrate } from './substrate.ts';

export interface ClaimTerms {
  /** Milliseconds after which somebody else may claim the thing when this process is gone or asleep; default 30,000. */
  readonly leaseMs?: number;
  /** Milliseconds to wait for whoever holds it; default 0. */
  readonly waitMs?: number;
  /** Milliseconds since the epoch; the clocks of nodes must agree within a fraction of `leaseMs`. */
  readonly now?: () => number;
}

/** A claim of a thing lasts so long unless it is renewed. */
export const LEASE_MS = 30_000;
/** Whoever has something to do waits so long for whoever is at the same thing. */
export const WAIT_MS = 10_000;
const FORGET_MS = 3_600_000;
const FIRST_PAUSE_MS = 10;
const MAX_PAUSE_MS = 250;
/** Of the lease: what is left is for clocks that differ, and for a change that the engine takes up late. */
const SHARE_FOR_A_CHANGE = 2 / 3;

/** The right to change a thing, for as long as it takes. */
export interface Hold extends Fence {
  /**
   * Makes sure that it is still ours, and stays so until the transaction ends.
   * @throws {ClaimLost}
   */
  holdIn(trx: Trx): Promise<void>;
  /** Gives it back. Safe when it has been lost; what the database does not take runs out. */
  release(): Promise<void>;
}

/** Where nothing runs there is nothing to fight for: rows are guarded by their own transactions. */
const NOTHING: Hold = {
  token: 0,
  admit: async () => Number.POSITIVE_INFINITY,
  holdIn: async () => {},
  release: async () => {},
};

/**
 * Claims a thing of this substrate in order to change it.
 * @returns `undefined` when somebody else holds the thing all the time
 */
export async function claimThing(
  substrate: Substrate,
  db: Db,
  thing: string,
  terms: ClaimTerms,
): Promise<Hold | undefined> {
  return substrate.name === 'record' ? NOTHING : SubstrateClaim.take(db, thing, terms);
}

/**
 * The only right to change a thing of the substrate, whoever it is that changes it: a mutator, a deployment, an edit of
 * services, a rotation, the reconciler. Renewed until it is released, or until somebody else has it.
 */
export class SubstrateClaim implements Hold {
  readonly token: number;
  readonly #db: Db;
  readonly #thing: string;
  readonly #leaseMs: number;
  readonly #now: () => number;
  readonly #renewal: Renewal;
  #endsAt: number;

  private constructor(db: Db, thing: string, token: number, takenAt: number, leaseMs: number, now: () => number) {
    this.#db = db;
    this.#thing = thing;
    this.token = token;
    this.#leaseMs = leaseMs;
    this.#now = now;
    this.#endsAt = takenAt + leaseMs;
    // With the database away the next renewal tries again; until one succeeds the lease runs out.
    this.#renewal = new Renewal({ leaseMs, renew: () => this.#renew(this.#now()) });
  }

  /** @returns `undefined` when somebody else holds the thing all the time */
  static async take(db: Db, thing: string, terms: ClaimTerms = {}): Promise<SubstrateClaim | undefined> {
    const { leaseMs = LEASE_MS, waitMs = 0, now = Date.now } = terms;
    const givenUpAt = performance.now() + waitMs;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      const takenAt = now();
      const token = await takeOnce(db, thing, takenAt, leaseMs);
      if (token !== undefined) return new SubstrateClaim(db, thing, token, takenAt, leaseMs, now);
      const leftMs = givenUpAt - performance.now();
      if (leftMs <= 0) return undefined;
      await Bun.sleep(Math.min(leftMs, pauseMs * (0.5 + Math.random())));
    }
  }

  /** Whether nobody else can have taken it, by this process's clock. */
  get isHeld(): boolean {
    return this.#now() < this.#endsAt;
  }

  async admit(): Promise<number> {
    const askedAt = this.#now();
    let isOurs: boolean;
    try {
      isOurs = await this.#renew(askedAt);
    } catch (error) {
      throw new Error(`whether it may be changed cannot be asked: ${describeError(error)}`, { cause: error });
    }
    if (!isOurs) throw this.#lost();
    const leftMs = askedAt + this.#leaseMs * SHARE_FOR_A_CHANGE - this.#now();
    // This process slept while it asked: what it was told is old.
    if (leftMs <= 0) throw this.#lost();
    return leftMs;
  }

  /** The row is locked, so that whoever finds it expired meanwhile waits for the commit. */
  async holdIn(trx: Trx): Promise<void> {
    const row = await lockRow(trx, 'substrate_claims', { thing: this.#thing, fence: this.token });
    if (row !== undefined) return;
    this.#endsAt = 0;
    throw this.#lost();
  }

  async release(): Promise<void> {
    await this.#renewal.stop();
    this.#endsAt = 0;
    await this.#db
      .deleteFrom('substrate_claims')
      .where('thing', '=', this.#thing)
      .where('fence', '=', this.token)
      .execute()
      .catch(() => {});
  }

  /** Never takes it once more: one that has run out is renewed only when nobody has had it since. */
  async #renew(now: number): Promise<boolean> {
    const { numUpdatedRows } = await this.#db
      .updateTable('substrate_claims')
      .set({ expires_at: now + this.#leaseMs })
      .where('thing', '=', this.#thing)
      .where('fence', '=', this.token)
      .executeTakeFirstOrThrow();
    const isOurs = numUpdatedRows > 0n;
    this.#endsAt = isOurs ? now + this.#leaseMs : 0;
    return isOurs;
  }

  #lost(): ClaimLost {
    return new ClaimLost(`somebody else is changing ${this.#thing}`);
  }
}

/**
 * A fence that asks for something else first.
 * @param isStill whether what is being done is still this actor's to do
 */
export function fencedBy(fence: Fence, isStill: () => Promise<boolean>): Fence {
  return {
    token: fence.token,
    async admit() {
      if (!(await isStill())) throw new ClaimLost('somebody else does this work now');
      return fence.admit();
    },
  };
}

/** Which of the things that a shared substrate runs are this database's. */
export async function installationId(db: Db): Promise<string> {
  const { id } = await db.selectFrom('installation').select('id').executeTakeFirstOrThrow();
  return id;
}

/** @returns the token; `undefined` when somebody holds the thing */
async function takeOnce(db: Db, thing: string, now: number, leaseMs: number): Promise<number | undefined> {
  // Those that wait look again and again: they leave without a lock.
  const held = await db
    .selectFrom('substrate_claims')
    .select('thing')
    .where('thing', '=', thing)
    .where('expires_at', '>=', now)
    .executeTakeFirst();
  if (held !== undefined) return undefined;
  return db.transaction().execute(async (trx) => {
    // The time rather than a mere count: a database that comes back from a backup must not hand out again, or stay below,
    // what the substrate already bears as labels.
    const { last_fence: fence } = await trx
      .updateTable('installation')
      .set((eb) => ({
        last_fence: eb
          .case()
          .when('last_fence', '<', now)
          .then(now)
          .else(eb('last_fence', '+', 1))
          .end(),
      }))
      .returning('last_fence')
      .executeTakeFirstOrThrow();
    const taken = await trx
      .insertInto('substrate_claims')
      .values({ thing, fence, expires_at: now + leaseMs })
      .onConflict((conflict) =>
        conflict
          .column('thing')
          .doUpdateSet({ fence, expires_at: now + leaseMs })
          .where('substrate_claims.expires_at', '<', now),
      )
      .returning('fence')
      .executeTakeFirst();
    // What dead nodes have left. Whoever still sleeps on one finds it lost.
    await trx
      .deleteFrom('substrate_claims')
      .where('expires_at', '<', now - FORGET_MS)
      .execute();
    return taken?.fence;
  });
}
