import type { Db, Trx } from '../db/database.ts';
import type { DeliveryState } from '../db/webhook-tables.ts';

/** Deliveries, and the bytes of their events and attempts. */
export interface Amount {
  readonly events: number;
  readonly bytes: number;
}

/** What a subscription may keep of each state: that many that wait, as many dead letters, as many that were delivered. */
export type Bounds = Amount;

export const NOTHING: Amount = { events: 0, bytes: 0 };
export const STATES = ['pending', 'delivered', 'dead'] as const satisfies readonly DeliveryState[];

/** What changes in one transaction, put together: each count is written once, and all transactions lock them in one order. */
export class StockChanges {
  readonly #changes = new Map<string, { subscription: string; state: DeliveryState; amount: Amount }>();

  /** @param sign -1 where they leave the state */
  add(subscription: string, state: DeliveryState, bytes: number, sign: 1 | -1 = 1): void {
    const key = `${subscription} ${state}`;
    const { events, bytes: before } = this.#changes.get(key)?.amount ?? NOTHING;
    const amount = { events: events + sign, bytes: before + sign * bytes };
    this.#changes.set(key, { subscription, state, amount });
  }

  /** What changed stays, but its bytes are others. */
  resize(subscription: string, state: DeliveryState, bytes: number): void {
    this.add(subscription, state, bytes);
    this.add(subscription, state, 0, -1);
  }

  /**
   * Writes them down: the last of what a transaction does to webhooks, for the order of the locks.
   * @returns what there is now of each state that grew
   */
  async write(trx: Trx): Promise<{ subscription: string; state: DeliveryState; stock: Amount }[]> {
    const now: { subscription: string; state: DeliveryState; stock: Amount }[] = [];
    for (const [, { subscription, state, amount }] of [...this.#changes].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (amount.events === 0 && amount.bytes === 0) continue;
      const stock = await trx
        .updateTable('webhook_stock')
        .set((eb) => ({ events: eb('events', '+', amount.events), bytes: eb('bytes', '+', amount.bytes) }))
        .where('subscription', '=', subscription)
        .where('state', '=', state)
        .returning(['events', 'bytes'])
        .executeTakeFirst();
      // Its subscription may have been deleted: its deliveries go soon.
      if (stock !== undefined && (amount.events > 0 || amount.bytes > 0)) now.push({ subscription, state, stock });
    }
    return now;
  }
}

/** A new subscription has nothing. */
export async function createStock(trx: Trx, subscription: string): Promise<void> {
  await trx
    .insertInto('webhook_stock')
    .values(STATES.map((state) => ({ subscription, state, ...NOTHING })))
    .execute();
}

export async function stockOf(db: Db | Trx, subscription: string): Promise<Readonly<Record<DeliveryState, Amount>>> {
  const rows = await db.selectFrom('webhook_stock').selectAll().where('subscription', '=', subscription).execute();
  const found = Object.fromEntries(rows.map(({ state, events, bytes }) => [state, { events, bytes }]));
  return { pending: NOTHING, delivered: NOTHING, dead: NOTHING, ...found };
}

export function isFull({ events, bytes }: Amount, bounds: Bounds): boolean {
  return events >= bounds.events || bytes >= bounds.bytes;
}

/** @param slack so much more may be there, as a part of it */
export function exceeds({ events, bytes }: Amount, bounds: Bounds, slack = 0): boolean {
  return events > bounds.events * (1 + slack) || bytes > bounds.bytes * (1 + slack);
}
