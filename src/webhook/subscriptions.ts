import { createEvent } from '../bus/event.ts';
import type { LogHistory } from '../bus/log-history.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { assertPattern, TopicError, topics } from '../bus/topic.ts';
import type { Db, Trx } from '../db/database.ts';
import { lockRow } from '../db/row-lock.ts';
import { isStorable } from '../db/storable.ts';
import type { WebhookSubscriptionRow } from '../db/webhook-tables.ts';
import { AppError } from '../errors.ts';
import { CLOSED } from './breaker.ts';
import { tryNow } from './deliveries.ts';
import { breakerEvent } from './recorder.ts';
import type { Renderer } from './renderer.ts';
import { type SecretBox, SecretBoxError } from './secret-box.ts';
import { findStanding } from './standing.ts';
import { createStock } from './stock.ts';
import { breakerOf, type TemplateSource, templateText } from './subscription.ts';
import { resolveTarget, TargetError, type TargetRules } from './target.ts';
import { TemplateError } from './template-error.ts';

/** DECNET's words for what operators mostly want (contract §7.2). */
export const SIMPLE_EVENTS = {
  AttackerDetail: ['attacker.>'],
  DeckyStatus: ['decky.*.state', 'decky.*.traffic'],
  SystemStatus: ['system.>'],
} as const;
export type SimpleEvent = keyof typeof SIMPLE_EVENTS;

/** How a subscription is delivered; every field has a default. */
export interface DeliveryOptions {
  readonly ordered?: boolean | null | undefined;
  readonly concurrency?: number | null | undefined;
  readonly batch_size?: number | null | undefined;
  readonly batch_wait_ms?: number | null | undefined;
  readonly template?: TemplateSource | null | undefined;
}

export interface NewSubscription extends DeliveryOptions {
  readonly name: string;
  readonly url: string;
  readonly secret?: string | null | undefined;
  readonly simple_events?: readonly SimpleEvent[] | null | undefined;
  readonly topic_patterns?: readonly string[] | null | undefined;
  readonly enabled?: boolean | null | undefined;
}

export type SubscriptionChange = { readonly [Field in keyof NewSubscription]?: NewSubscription[Field] | null };

const DEFAULTS = { ordered: 0, concurrency: 4, batch_size: 1, batch_wait_ms: 0 } as const;
/** Each may hold an event of two megabytes in memory while it is sent. */
const MOST_SUBSCRIPTIONS = 100;
const SECRET_BYTES = 32;

export interface SubscriptionsParts {
  readonly db: Db;
  readonly box: SecretBox;
  readonly target: TargetRules;
  readonly history: Pick<LogHistory, 'range'>;
  /** Tries templates before they are saved. */
  readonly renderer: Pick<Renderer, 'render'>;
  /** Called after each commit: wakes the relay and the worker of this process. */
  readonly onCommitted: () => void;
}

/** The subscriptions as operators manage them. Each change is told as `system.webhook.subscriptions_changed`. */
export class Subscriptions {
  readonly #parts: SubscriptionsParts;

  constructor(parts: SubscriptionsParts) {
    this.#parts = parts;
  }

  list(): Promise<WebhookSubscriptionRow[]> {
    return this.#parts.db
      .selectFrom('webhook_subscriptions')
      .selectAll()
      .orderBy('created_at')
      .orderBy('uuid')
      .execute();
  }

  /** @throws {AppError} `not_found` */
  get(uuid: string): Promise<WebhookSubscriptionRow> {
    return find(this.#parts.db, uuid);
  }

  /**
   * @returns the row, and its secret, which is told this once
   * @throws {AppError} `bad_request` without a pattern, `conflict` for a name that is taken, `invalid` for anything else
   */
  async create(wanted: NewSubscription, now = new Date()): Promise<{ row: WebhookSubscriptionRow; secret: string }> {
    const { db, box, history } = this.#parts;
    const patterns = patternsFrom(wanted.simple_events, wanted.topic_patterns);
    if (patterns.length === 0) {
      throw new AppError('bad_request', 'Provide at least one simple_events entry or topic_patterns pattern.');
    }
    const uuid = crypto.randomUUID();
    const secret = wanted.secret ?? newSecret();
    const at = now.toISOString();
    await this.#assertTemplate(wanted.template);
    await this.#assertNameFree(wanted.name);
    const row = {
      ...DEFAULTS,
      ...columnsOf(wanted),
      uuid,
      name: wanted.name,
      url: await this.#checkedUrl(wanted.url),
      secret: box.seal(secret, uuid),
      topic_patterns: JSON.stringify(patterns),
      enabled: wanted.enabled === false ? (0 as const) : (1 as const),
      breaker: JSON.stringify(CLOSED),
      consecutive_failures: 0,
      created_at: at,
      updated_at: at,
    };
    // From here on the log is dispatched, also where no worker has run yet.
    await findStanding(db, history);
    await this.#commit(async (trx) => {
      const { count } = await trx
        .selectFrom('webhook_subscriptions')
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .executeTakeFirstOrThrow();
      if (count >= MOST_SUBSCRIPTIONS)
        throw new AppError('conflict', `There may be ${MOST_SUBSCRIPTIONS} webhooks; delete one`);
      const made = await trx
        .insertInto('webhook_subscriptions')
        .values(row)
        .onConflict((conflict) => conflict.column('name').doNothing())
        .returning('uuid')
        .executeTakeFirst();
      if (made === undefined) throw nameTaken();
      await createStock(trx, uuid);
    });
    return { row: await find(db, uuid), secret };
  }

  /**
   * Changes what is given; a list of events or patterns replaces all of them. What may mend a receiver that failed lets it begin anew:
   * enabling it, another URL, another secret; what waits for another attempt has it now. A URL that stays is not resolved again, so that one whose host is gone can be disabled.
   * @throws {AppError} `not_found`, `conflict`, `invalid`, `bad_request`
   */
  async update(uuid: string, change: SubscriptionChange, now = new Date()): Promise<WebhookSubscriptionRow> {
    const { db, box } = this.#parts;
    const row = await find(db, uuid);
    const { name, url, secret, enabled, simple_events, topic_patterns } = change;
    const fields = columnsOf(change);
    const given = [name, url, secret, enabled, simple_events, topic_patterns].some(isGiven);
    if (!given && Object.keys(fields).length === 0) return row;
    await this.#assertTemplate(change.template);
    if (isGiven(name) && name !== row.name) await this.#assertNameFree(name);
    const checkedUrl = isGiven(url) && URL.parse(url)?.href !== row.url ? await this.#checkedUrl(url) : undefined;
    const patterns =
      isGiven(simple_events) || isGiven(topic_patterns) ? patternsFrom(simple_events, topic_patterns) : undefined;
    if (patterns?.length === 0)
      throw new AppError('bad_request', 'Cannot clear all patterns; disable the webhook instead.');
    const isRenamed = isGiven(name) && name !== row.name;
    let beginsAnew = false;
    const changing = this.#commit(async (trx) => {
      // As it is now: it may have been disabled since it was read.
      const before = await lockRow(trx, 'webhook_subscriptions', { uuid });
      if (before === undefined) throw notFound();
      const isMended = (enabled === true && !isWorking(before)) || checkedUrl !== undefined || isGiven(secret);
      beginsAnew = isMended && (enabled ?? before.enabled === 1);
      await trx
        .updateTable('webhook_subscriptions')
        .set((eb) => ({
          ...fields,
          ...(isGiven(name) ? { name } : {}),
          ...(checkedUrl === undefined ? {} : { url: checkedUrl }),
          ...(isGiven(secret)
            ? { secret: box.seal(secret, uuid), previous_secret: null, previous_secret_until: null }
            : {}),
          ...(patterns === undefined ? {} : { topic_patterns: JSON.stringify(patterns) }),
          ...(isGiven(enabled) ? { enabled: enabled ? (1 as const) : (0 as const) } : {}),
          ...(beginsAnew ? BEGUN_ANEW : {}),
          revision: eb('revision', '+', 1),
          updated_at: now.toISOString(),
        }))
        .where('uuid', '=', uuid)
        .execute();
      if (beginsAnew && breakerOf(before).state !== 'closed') {
        await appendToOutbox(trx, [breakerEvent(uuid, name ?? before.name, CLOSED, null)]);
      }
    });
    await changing.catch(async (error) => {
      // Somebody else took the name at the same time.
      throw isRenamed && (await isNameTaken(db, name)) ? nameTaken() : error;
    });
    // Whoever wakes the deliverer afterwards finds it due; should this process die before, it comes at its time.
    if (beginsAnew) await tryNow(db, uuid);
    return find(db, uuid);
  }

  /**
   * Gives it another secret; requests are signed with both until the grace is over.
   * @param graceSeconds 0: the old one ends at once
   * @returns the row, and the new secret, which is told this once
   */
  async rotateSecret(uuid: string, wanted: string | undefined, graceSeconds: number, now = new Date()) {
    const { db, box } = this.#parts;
    const secret = wanted ?? newSecret();
    await this.#commit(async (trx) => {
      const row = await find(trx, uuid);
      const isKept = graceSeconds > 0;
      await trx
        .updateTable('webhook_subscriptions')
        .set((eb) => ({
          secret: box.seal(secret, uuid),
          previous_secret: isKept ? row.secret : null,
          previous_secret_until: isKept ? now.getTime() + graceSeconds * 1000 : null,
          revision: eb('revision', '+', 1),
          updated_at: now.toISOString(),
        }))
        .where('uuid', '=', uuid)
        .execute();
    });
    return { row: await find(db, uuid), secret };
  }

  /** What was to be delivered to it goes with it, a little later. @throws {AppError} `not_found` */
  async delete(uuid: string): Promise<void> {
    await this.#commit(async (trx) => {
      await find(trx, uuid);
      await trx.deleteFrom('webhook_subscriptions').where('uuid', '=', uuid).execute();
      await trx.deleteFrom('webhook_stock').where('subscription', '=', uuid).execute();
    });
  }

  /**
   * Seals every secret that an older key sealed with the key of now.
   * @returns how many webhooks, and those whose secrets no key opens
   */
  async reencrypt(): Promise<{ reencrypted: number; unreadable: string[] }> {
    const { db, box } = this.#parts;
    const unreadable: string[] = [];
    let reencrypted = 0;
    for (const { uuid, secret, previous_secret } of await this.list()) {
      const stale = [secret, previous_secret].some((sealed) => sealed !== null && !box.isCurrent(sealed));
      if (!stale) continue;
      try {
        const anew = (sealed: string) => box.seal(box.open(sealed, uuid), uuid);
        const done = await db
          .updateTable('webhook_subscriptions')
          .set((eb) => ({
            secret: anew(secret),
            previous_secret: previous_secret === null ? null : anew(previous_secret),
            revision: eb('revision', '+', 1),
          }))
          .where('uuid', '=', uuid)
          // One that was rotated meanwhile is current.
          .where('secret', '=', secret)
          .returning('uuid')
          .execute();
        reencrypted += done.length;
      } catch (error) {
        if (!(error instanceof SecretBoxError)) throw error;
        unreadable.push(uuid);
      }
    }
    return { reencrypted, unreadable };
  }

  /** @throws {AppError} `invalid` for a template that cannot be read, or fails with an example */
  async #assertTemplate(source: TemplateSource | null | undefined): Promise<void> {
    if (!isGiven(source)) return;
    try {
      await this.#parts.renderer.render(templateText(source), EXAMPLE);
    } catch (error) {
      throw error instanceof TemplateError ? new AppError('invalid', error.message) : error;
    }
  }

  async #checkedUrl(text: string): Promise<string> {
    try {
      const { url } = await resolveTarget(text, this.#parts.target);
      return url.href;
    } catch (error) {
      throw error instanceof TargetError ? new AppError('invalid', error.message) : error;
    }
  }

  async #assertNameFree(name: string): Promise<void> {
    if (await isNameTaken(this.#parts.db, name)) throw nameTaken();
  }

  async #commit(change: (trx: Trx) => Promise<void>): Promise<void> {
    await this.#parts.db.transaction().execute(async (trx) => {
      await change(trx);
      await appendToOutbox(trx, [createEvent(topics.webhookSubscriptionsChanged, 'changed', {})]);
    });
    this.#parts.onCommitted();
  }
}

/** Whether it is enabled and its breaker lets everything through. */
function isWorking(row: WebhookSubscriptionRow): boolean {
  return row.enabled === 1 && breakerOf(row).state === 'closed';
}

/** What an operator who lets it begin again wipes out. */
const BEGUN_ANEW = {
  auto_disabled_at: null,
  consecutive_failures: 0,
  last_error: null,
  breaker: JSON.stringify(CLOSED),
};

const notFound = () => new AppError('not_found', 'Webhook not found');
const nameTaken = () => new AppError('conflict', 'Webhook name already exists');

async function find(db: Db | Trx, uuid: string): Promise<WebhookSubscriptionRow> {
  const row = isStorable(uuid)
    ? await db.selectFrom('webhook_subscriptions').selectAll().where('uuid', '=', uuid).executeTakeFirst()
    : undefined;
  if (row === undefined) throw notFound();
  return row;
}

async function isNameTaken(db: Db | Trx, name: string): Promise<boolean> {
  const row = await db.selectFrom('webhook_subscriptions').select('uuid').where('name', '=', name).executeTakeFirst();
  return row !== undefined;
}

function isGiven<T>(value: T | null | undefined): value is T {
  return value !== undefined && value !== null;
}

function newSecret(): string {
  return crypto.getRandomValues(Buffer.alloc(SECRET_BYTES)).toString('base64url');
}

/** Simple events first, then patterns, each once. @throws {AppError} `invalid` for what is no pattern */
function patternsFrom(
  simple: readonly SimpleEvent[] | null | undefined,
  raw: readonly string[] | null | undefined,
): string[] {
  const all = [
    ...(simple ?? []).flatMap((name) => SIMPLE_EVENTS[name]),
    ...(raw ?? []).filter((pattern) => pattern !== ''),
  ];
  try {
    all.forEach(assertPattern);
  } catch (error) {
    throw error instanceof TopicError ? new AppError('invalid', error.message) : error;
  }
  return [...new Set(all)];
}

/** The columns of the options that are given. */
function columnsOf({
  ordered,
  concurrency,
  batch_size,
  batch_wait_ms,
  template,
}: { [Field in keyof DeliveryOptions]?: DeliveryOptions[Field] | null }) {
  return {
    ...(isGiven(ordered) ? { ordered: ordered ? (1 as const) : (0 as const) } : {}),
    ...(isGiven(concurrency) ? { concurrency } : {}),
    ...(isGiven(batch_size) ? { batch_size } : {}),
    ...(isGiven(batch_wait_ms) ? { batch_wait_ms } : {}),
    ...(template === undefined ? {} : { template: template === null ? null : JSON.stringify(template) }),
  };
}

/** What a template is tried with when it is saved. */
export const EXAMPLE = {
  id: '00000000000000000000000000000000',
  topic: 'attacker.observed',
  type: 'observed',
  ts: 1_795_231_317.125,
  payload: { attacker_ip: '203.0.113.9', decky: 'web-1', service: 'ssh', event_type: 'login_attempt' },
};
