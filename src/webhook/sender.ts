import type { Json } from '../bus/event.ts';
import { isJsonObject } from '../bus/event.ts';
import type { Db } from '../db/database.ts';
import { describeError } from '../errors.ts';
import { nextTurn } from '../stream/slices.ts';
import { decnetBody, type WebhookEvent } from './body.ts';
import { type DeliveryRequest, dataOf } from './delivery-queue.ts';
import type { Attempt } from './lane.ts';
import type { Poster } from './post.ts';
import type { Renderer } from './renderer.ts';
import { type Outcome, outcomeOf } from './retry.ts';
import type { SecretBox } from './secret-box.ts';
import { type SigningSecrets, signatureHeaders } from './signature.ts';
import type { Subscription } from './subscription.ts';
import { resolveTarget, TargetError, type TargetRules } from './target.ts';
import { TemplateError } from './template-error.ts';

export interface SenderParts {
  readonly db: Db;
  readonly poster: Pick<Poster, 'post'>;
  readonly box: SecretBox;
  readonly renderer: Pick<Renderer, 'render'>;
  readonly target: TargetRules;
}

const MILLISECONDS = 1000;
/** Bodies are made for so long before everybody else has a turn. */
const TURN_MS = 5;
const GONE = 'its event is gone';
/** Characters of the bodies that a template makes of the events of one request. */
const MOST_RENDERED = 8 * 1024 * 1024;
const TOO_LARGE = `with it the rendered batch has more than ${MOST_RENDERED} characters`;

/** Makes one attempt of a request: where it goes is checked anew, and it is signed anew. Whatever happens is an outcome. */
export class Sender {
  readonly #parts: SenderParts;

  constructor(parts: SenderParts) {
    this.#parts = parts;
  }

  /** Never rejects. */
  async attempt(subscription: Subscription, request: DeliveryRequest): Promise<Attempt> {
    try {
      const data = await dataOf(this.#parts.db, request);
      const events: WebhookEvent[] = [];
      const gone = new Map<string, string>();
      for (const { eventId } of request.deliveries) {
        const text = data.get(eventId);
        if (text === undefined) gone.set(eventId, GONE);
        else events.push(eventOf(eventId, text));
      }
      const madeAt = new Date(request.deliveries[0]?.createdAt ?? Date.now());
      const attempt = await this.send(subscription, events, madeAt);
      return { ...attempt, unsent: new Map([...gone, ...(attempt.unsent ?? [])]) };
    } catch (error) {
      return failure(retry(describeError(error)));
    }
  }

  /**
   * Never rejects.
   * @param events several travel as a JSON array
   * @param madeAt when the delivery was made: `X-DECNET-Timestamp`, the same for every attempt
   */
  async send(
    subscription: Pick<Subscription, 'uuid' | 'url' | 'template' | 'batchSize' | 'sealed'>,
    events: readonly WebhookEvent[],
    madeAt: Date,
  ): Promise<Attempt> {
    if (events.length === 0) return failure({ kind: 'dead', error: GONE });
    let rendered: Rendered;
    try {
      rendered = await bodyOf(this.#parts.renderer, subscription, events);
    } catch (error) {
      // Another attempt would meet the same template and the same event.
      const isPassing = error instanceof TemplateError && error.isPassing;
      return failure(isPassing ? retry(error.message) : { kind: 'dead', error: describeError(error) });
    }
    const { body, unsent } = rendered;
    try {
      const sent = events.filter(({ id }) => !unsent.has(id));
      const [first] = sent;
      const id = headerText(sent.length > 1 ? `batch_${first?.id}` : `${first?.id}`);
      const now = Date.now();
      const headers = {
        'Content-Type': 'application/json',
        'User-Agent': 'decnet-webhook/1.0',
        'X-DECNET-Event-Id': id,
        'X-DECNET-Event-Topic': headerText(sent.length > 1 ? 'batch' : `${first?.topic}`),
        'X-DECNET-Timestamp': String(Math.floor(madeAt.getTime() / MILLISECONDS)),
        // Standard Webhooks separates what it signs by dots.
        ...signatureHeaders(
          this.#secrets(subscription, now),
          id.replaceAll('.', '%2E'),
          Math.floor(now / MILLISECONDS),
          body,
        ),
      };
      const target = await resolveTarget(subscription.url, this.#parts.target);
      const answer = await this.#parts.poster.post(target, headers, body);
      return { outcome: outcomeOf(answer, now), status: answer.status, excerpt: answer.excerpt, unsent };
    } catch (error) {
      // The address that a name has now is one that it may not have; a name that does not resolve may do so later.
      const isOver = error instanceof TargetError && !error.isPassing;
      return { ...failure(isOver ? { kind: 'dead', error: error.message } : retry(describeError(error))), unsent };
    }
  }

  #secrets({ uuid, sealed }: Pick<Subscription, 'uuid' | 'sealed'>, now: number): SigningSecrets {
    const { secret, previous_secret, previous_secret_until } = sealed;
    const isInGrace = previous_secret !== null && now < (previous_secret_until ?? 0);
    const current = this.#parts.box.open(secret, uuid);
    return isInGrace ? { current, previous: this.#parts.box.open(previous_secret, uuid) } : { current };
  }
}

/** A body, and the events that it does not hold: their ids, and why. */
export interface Rendered {
  readonly body: Uint8Array;
  readonly unsent: ReadonlyMap<string, string>;
}

/**
 * The body of a request: one event as it is, several as an array; through the template where there is one. An event of which the template
 * makes nothing keeps none of the others back.
 * @throws {TemplateError} when the template makes nothing of any event, or may make something of it later
 */
export async function bodyOf(
  renderer: Pick<Renderer, 'render'>,
  { template, batchSize }: Pick<Subscription, 'template' | 'batchSize'>,
  events: readonly WebhookEvent[],
): Promise<Rendered> {
  const bodies: string[] = [];
  const unsent = new Map<string, string>();
  let size = 0;
  let since = performance.now();
  for (const event of events) {
    try {
      const body = template === undefined ? decnetBody(event) : await renderer.render(template, event);
      size += body.length;
      if (template !== undefined && size > MOST_RENDERED) throw new TemplateError(TOO_LARGE);
      bodies.push(body);
    } catch (error) {
      if (!(error instanceof TemplateError) || error.isPassing || events.length === 1) throw error;
      unsent.set(event.id, error.message);
    }
    if (performance.now() - since < TURN_MS) continue;
    await nextTurn();
    since = performance.now();
  }
  const [only] = bodies;
  if (only === undefined) throw new TemplateError([...unsent.values()][0] ?? 'there is no event');
  // Who asked for batches always gets an array.
  return { body: Buffer.from(batchSize === 1 ? only : `[${bodies.join(',')}]`), unsent };
}

const retry = (error: string): Outcome => ({ kind: 'retry', error, retryAfterMs: undefined });
const failure = (outcome: Outcome): Attempt => ({ outcome, status: null, excerpt: null });

/** An event as its wire data tells it. */
export function eventOf(id: string, data: string): WebhookEvent {
  const wire: Json = JSON.parse(data);
  const { topic, type, ts, payload } = isJsonObject(wire) ? wire : {};
  return {
    id,
    topic: String(topic ?? ''),
    type: String(type ?? ''),
    ts: Number(ts ?? 0),
    payload: isJsonObject(payload) ? payload : {},
  };
}

/** Ids and topics may hold any letters, a header may not. */
function headerText(text: string): string {
  return /^[\x21-\x7e]*$/.test(text) ? text : encodeURIComponent(text);
}
