import { sql } from 'kysely';
import type { LogEntry } from '../bus/entry.ts';
import type { LogHistory } from '../bus/log-history.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import type { Db, Trx } from '../db/database.ts';
import type { WebhookSubscriptionRow } from '../db/webhook-tables.ts';
import { nextTurn } from '../stream/slices.ts';
import type { Log } from '../telemetry/log.ts';
import { type Behind, behindOf, behindText, caughtUp, moveBehind } from './behind.ts';
import { Matchers, withMissed, writeDeliveries } from './dispatch.ts';
import { after, isAt, moveStanding, notReached, type Standing } from './standing.ts';
import { type Amount, type Bounds, isFull, stockOf } from './stock.ts';
import type { Missed } from './subscription.ts';

export interface CatchUpParts {
  readonly db: Db;
  readonly history: Pick<LogHistory, 'read' | 'range'>;
  readonly bounds: Bounds;
  readonly logger: Log;
  readonly onDispatched: (subscriptions: ReadonlySet<string>) => void;
  readonly onCommitted: () => void;
}

/** What one transaction may write: little enough that SQLite, which works in this thread, holds nobody up. */
const MOST_TOGETHER = { events: 100, deliveries: 200, size: 256 * 1024 } as const;
/** One that is behind goes on when its backlog is no longer than this part of what it may be. */
const LOW = 1 / 2;

type Row = Pick<WebhookSubscriptionRow, 'uuid' | 'name' | 'topic_patterns' | 'behind' | 'missed'>;

/** Another node has moved the position meanwhile. */
export class Overtaken extends Error {}

/** What one transaction dispatches to so many subscriptions: at least one entry, where there is one. */
export function together(entries: readonly LogEntry[], subscriptions: number): readonly LogEntry[] {
  const most = Math.min(MOST_TOGETHER.events, Math.ceil(MOST_TOGETHER.deliveries / subscriptions));
  let size = 0;
  const end = entries.slice(0, most).findIndex(({ data }) => {
    size += data.length;
    return size > MOST_TOGETHER.size;
  });
  return entries.slice(0, end === -1 ? most : Math.max(1, end));
}

/**
 * Takes subscriptions whose backlog was full through what they have not been given of the log, when there is room again, up to where all others
 * stand. What the log no longer holds is noted on the subscription.
 */
export class CatchUp {
  readonly #parts: CatchUpParts;
  readonly #matchers = new Matchers();
  /** Whose turn was last. */
  #last = '';

  constructor(parts: CatchUpParts) {
    this.#parts = parts;
  }

  /**
   * Takes one of them a portion further, each in its turn.
   * @param at where all others stand
   * @returns whether there may be more to do at once, and whether any is behind
   * @throws {Overtaken} when another node has moved meanwhile
   */
  async step(at: Standing): Promise<{ readonly left: boolean; readonly isAnyBehind: boolean }> {
    const rows = await this.#rows();
    const withRoom = rows.filter((row) => this.#hasRoom(row, LOW));
    const turn = withRoom.findIndex(({ uuid }) => uuid > this.#last);
    for (const row of [...withRoom.slice(turn), ...withRoom.slice(0, turn)]) {
      this.#last = row.uuid;
      if (await this.#takeOn(row, at)) return { left: true, isAnyBehind: true };
    }
    return { left: false, isAnyBehind: rows.length > 0 };
  }

  /** All that are behind, with what each has waiting. */
  #rows() {
    return this.#parts.db
      .selectFrom('webhook_subscriptions as subscription')
      .innerJoin('webhook_stock as stock', (join) =>
        join.onRef('stock.subscription', '=', 'subscription.uuid').on('stock.state', '=', sql.lit('pending')),
      )
      .select(['subscription.uuid', 'subscription.name', 'subscription.topic_patterns'])
      .select(['subscription.behind', 'subscription.missed', 'stock.events', 'stock.bytes'])
      .where('subscription.enabled', '=', 1)
      .where('subscription.behind', 'is not', null)
      .orderBy('subscription.uuid')
      .execute();
  }

  /** @param part of what it may have */
  #hasRoom(pending: Amount, part: number): boolean {
    const { events, bytes } = this.#parts.bounds;
    return !isFull(pending, { events: events * part, bytes: bytes * part });
  }

  /** @returns whether it has moved */
  async #takeOn(row: Row, at: Standing): Promise<boolean> {
    const behind = behindOf(row);
    if (behind === undefined) return false;
    if (isAt(behind, at)) return this.#join(row, behind, at);
    const { history } = this.#parts;
    const part = await history.read(behind);
    if (part.kind === 'replaced') {
      const { begin } = await history.range();
      return this.#jump(row, at, { ...behind, ...begin }, { reason: 'epoch', from: behind.offset + 1, to: null });
    }
    if (part.kind === 'trimmed') {
      const missed = { reason: 'trimmed', from: behind.offset + 1, to: part.from.offset } as const;
      return this.#jump(row, at, { ...behind, ...part.from }, missed);
    }
    if (part.epoch !== behind.epoch) {
      const missed = { reason: 'epoch', from: behind.offset + 1, to: null } as const;
      return this.#jump(row, at, { ...behind, epoch: part.epoch }, missed);
    }
    // Who stands further on waits until the others come past: a log that was replaced is read from its beginning.
    if (part.epoch !== at.epoch || behind.offset >= at.offset) return false;
    return this.#dispatch(
      row,
      behind,
      at,
      part.entries.filter(({ offset }) => offset <= at.offset),
    );
  }

  async #dispatch(row: Row, from: Behind, at: Standing, entries: readonly LogEntry[]): Promise<boolean> {
    const readable = this.#matchers.of([row], () => {});
    // The dispatcher disables it, with the next event.
    if (readable.length === 0) return false;
    let behind = from;
    for (let left = entries; left.length > 0; ) {
      const next = together(left, 1);
      const here = { ...row, behind: behindText(behind) };
      const to: Behind = { ...behind, ...after(behind, next) };
      const fresh = notReached(behind, next);
      const receivers = await this.#commit(at, async (trx) =>
        (await moveBehind(trx, here, to)) ? writeDeliveries(trx, fresh, readable, Date.now()) : undefined,
      );
      // It was edited: what it is now is read again.
      if (receivers === undefined) break;
      if (receivers.size > 0) this.#parts.onDispatched(receivers);
      if (!this.#hasRoom((await stockOf(this.#parts.db, row.uuid)).pending, 1)) break;
      left = left.slice(next.length);
      behind = to;
      await nextTurn();
    }
    return true;
  }

  async #join(row: Row, behind: Behind, at: Standing): Promise<boolean> {
    const joined = await this.#commit(at, async (trx) => {
      if (!(await moveBehind(trx, row, undefined))) return false;
      await appendToOutbox(trx, [caughtUp(row, behind)]);
      return true;
    });
    if (!joined) return true;
    this.#parts.logger.info('a webhook has caught up with the log', { webhook: row.uuid });
    this.#parts.onCommitted();
    return true;
  }

  async #jump(row: Row, at: Standing, to: Behind, missed: Omit<Missed, 'at'>): Promise<boolean> {
    this.#parts.logger.error('events of the log were gone before a webhook that is behind was given them', {
      webhook: row.uuid,
      ...missed,
    });
    const noted = withMissed(row, { ...missed, at: new Date().toISOString() });
    await this.#commit(at, (trx) => moveBehind(trx, row, to, noted));
    return true;
  }

  /** In a transaction in which all others stay where they stand. */
  #commit<T>(at: Standing, work: (trx: Trx) => Promise<T>): Promise<T> {
    return this.#parts.db.transaction().execute(async (trx) => {
      if (!(await moveStanding(trx, at, at))) throw new Overtaken('another node has dispatched meanwhile');
      return work(trx);
    });
  }
}
