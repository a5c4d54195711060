import { Liquid, LiquidError, type Template as Parsed } from 'liquidjs';
import type { Json } from '../bus/event.ts';
import { describeError } from '../errors.ts';
import { isoTime, type WebhookEvent } from './body.ts';
import { TemplateError } from './template-error.ts';

const MAX_TEMPLATE_BYTES = 64 * 1024;
/** What a rendered body may have: a receiver's limit is mostly lower. */
const MAX_RENDERED_BYTES = 2 * 1024 * 1024;

/** What the engine says when a rendering takes longer than `renderLimit`. */
const TOO_LONG = 'render limit';

// Limits of time and memory belong to the language, but it looks at them between two steps alone, and a filter over a long list is one
// step: so this runs in a thread of its own, which can be ended (see renderer.ts). Every output is written as JSON: what an attacker typed into a decoy stays inside its string.
const engine = new Liquid({
  outputEscape: (value: unknown) => JSON.stringify(value ?? null),
  strictFilters: true,
  ownPropertyOnly: true,
  cache: false,
  // No files: `include`, `render` and `layout` find nothing.
  templates: {},
  parseLimit: MAX_TEMPLATE_BYTES,
  renderLimit: 50,
  memoryLimit: MAX_RENDERED_BYTES,
});

/** A template that was read: it makes a JSON text of an event. */
export class EventTemplate {
  readonly #parsed: Parsed[];

  /**
   * @param text Liquid (https://liquidjs.com) that writes JSON; `event` has id, topic, family (the topic's root), type, ts (seconds), time
   * (ISO 8601), epoch_ms, payload, and payload_text (the payload as indented JSON). Every output is encoded as JSON.
   * @throws {TemplateError} when it cannot be read
   */
  constructor(text: string) {
    if (Buffer.byteLength(text) > MAX_TEMPLATE_BYTES) {
      throw new TemplateError(`a template may have at most ${MAX_TEMPLATE_BYTES} bytes`);
    }
    this.#parsed = placed(() => engine.parse(text));
  }

  /**
   * @returns JSON text
   * @throws {TemplateError} when it fails for this event, takes too long, or writes what is no JSON
   */
  render(event: WebhookEvent): string {
    const rendered = String(placed(() => engine.renderSync(this.#parsed, { event: viewOf(event) })));
    if (Buffer.byteLength(rendered) > MAX_RENDERED_BYTES) {
      throw new TemplateError(`the rendered body has more than ${MAX_RENDERED_BYTES} bytes`);
    }
    try {
      return JSON.stringify(JSON.parse(rendered) satisfies Json);
    } catch (error) {
      throw new TemplateError(`it does not write JSON: ${describeError(error)}`);
    }
  }
}

function viewOf(event: WebhookEvent) {
  const [family] = event.topic.split('.');
  return {
    ...event,
    family,
    time: isoTime(event.ts),
    epoch_ms: Math.round(event.ts * 1000),
    get payload_text() {
      return JSON.stringify(event.payload, null, 2);
    },
  };
}

function placed<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!LiquidError.is(error)) throw new TemplateError(describeError(error));
    const [line, column] = error.token.getPosition();
    const [message = ''] = error.message.split('\n');
    throw new TemplateError(message.replace(/, line:\d+, col:\d+$/, ''), { line, column }, message.includes(TOO_LONG));
  }
}
