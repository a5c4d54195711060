import { newEventId } from '../../src/bus/event.ts';
import type { Db, Engine } from '../../src/db/database.ts';
import { Deliverer, type DelivererParts } from '../../src/webhook/deliverer.ts';
import { dispatch, Matchers } from '../../src/webhook/dispatch.ts';
import type { LaneRules } from '../../src/webhook/lane.ts';
import { Poster } from '../../src/webhook/post.ts';
import { Renderer } from '../../src/webhook/renderer.ts';
import { SecretBox } from '../../src/webhook/secret-box.ts';
import { Sender } from '../../src/webhook/sender.ts';
import type { Bounds } from '../../src/webhook/stock.ts';
import { type NewSubscription, Subscriptions } from '../../src/webhook/subscriptions.ts';
import type { TargetRules } from '../../src/webhook/target.ts';
import { createTestDatabase, quiet } from '../support/database.ts';

export const RULES: LaneRules = {
  threshold: 1000,
  pauseMs: 1000,
  longestPauseMs: 60_000,
  schedule: [0.01, 0.02, 0.04],
  disableAfterMs: 5 * 86_400_000,
};

export const keyOf = (id: string) => ({ id, key: new Uint8Array(32).fill(id.charCodeAt(0)) });

export const BOUNDS: Bounds = { events: 100_000, bytes: 64 * 1024 * 1024 };

const BEGINNING = { epoch: 'e', offset: 0, proof: '0' };
export const STANDING = { ...BEGINNING, reached: new Map<string, number>() };

/** The worker of webhooks without the rest of a node: a database, and deliveries that a test writes down itself. */
export interface WebhookWorker {
  readonly db: Db;
  readonly engine: Engine;
  /** @param rules where it may lead when it is saved */
  subscriptions(box?: SecretBox, rules?: TargetRules): Subscriptions;
  subscribe(options?: Partial<NewSubscription>): Promise<string>;
  /** Writes down deliveries of events `attacker.scored`. @returns the ids of the events, in order */
  enqueue(count: number, payload?: { readonly [name: string]: string }): Promise<string[]>;
  /** Starts a node that delivers; it is stopped with the worker. */
  deliverer(parts?: Partial<DelivererParts> & { readonly target?: TargetRules; readonly box?: SecretBox }): Deliverer;
  rows(): Promise<{ seq: number; event_id: string; state: string; error: string | null; due_at: number }[]>;
  row(uuid: string): Promise<Awaited<ReturnType<Subscriptions['get']>>>;
  stop(): Promise<void>;
}

export const BOX = new SecretBox([keyOf('a')]);

export async function createWorker(engine: Engine): Promise<WebhookWorker> {
  const database = await createTestDatabase(engine);
  const { db } = database;
  const stops: (() => unknown)[] = [];
  const renderer = new Renderer();
  const matchers = new Matchers();
  let names = 0;
  const subscriptions = (box = BOX, target: TargetRules = { allowPrivate: true }) =>
    new Subscriptions({
      ...{ db, box, target, renderer },
      history: { range: async () => ({ begin: BEGINNING, oldestEpoch: 'e', end: BEGINNING }) },
      onCommitted: () => {},
    });
  const worker: WebhookWorker = {
    db,
    engine,
    subscriptions,
    async subscribe(options = {}) {
      names += 1;
      const url = 'http://127.0.0.1:1024/';
      const { row } = await subscriptions().create({ name: `hook-${names}`, url, topic_patterns: ['>'], ...options });
      return row.uuid;
    },
    async enqueue(count, payload = {}) {
      const ids = Array.from({ length: count }, () => newEventId());
      const events = ids.map((id, number) => {
        const topic = 'attacker.scored';
        return { id, topic, data: JSON.stringify({ topic, type: 'scored', ts: 1, payload: { number, ...payload } }) };
      });
      await db.transaction().execute((trx) => dispatch(trx, STANDING, events, matchers, BOUNDS, Date.now()));
      return ids;
    },
    deliverer({ target = { allowPrivate: true }, box = BOX, ...parts } = {}) {
      const poster = new Poster({ totalMs: 2000, connectMs: 1000 });
      const sender = new Sender({ db, poster, box, renderer, target });
      const deliverer = new Deliverer({
        ...{ db, sender, leaseMs: 2000, rules: RULES, bounds: BOUNDS, logger: quiet, onCommitted: () => {} },
        node: crypto.randomUUID(),
        ...parts,
      });
      stops.push(async () => {
        await deliverer.stop();
        poster.stop();
      });
      deliverer.start();
      return deliverer;
    },
    rows: () =>
      db
        .selectFrom('webhook_deliveries')
        .select(['seq', 'event_id', 'state', 'error', 'due_at'])
        .orderBy('seq')
        .execute(),
    row: (uuid) => subscriptions().get(uuid),
    async stop() {
      await Promise.all(stops.map((stop) => stop()));
      renderer.stop();
      await database.dispose();
    },
  };
  return worker;
}
