import type { WebhookEvent } from './body.ts';
import { TemplateError } from './template-error.ts';
import type { RenderAnswer, RenderTask } from './template-thread.ts';

export interface RendererLimits {
  /** Milliseconds that one event may take: whoever takes longer is ended, whatever it does. */
  readonly renderMs: number;
  /** Milliseconds until the thread has been loaded. */
  readonly startMs: number;
}

interface Waiting {
  readonly task: RenderTask;
  readonly result: PromiseWithResolvers<string>;
}

const LIMITS: RendererLimits = { renderMs: 1000, startMs: 10_000 };

/**
 * Renders templates in a thread of its own, one event after the other. A template that runs for ever holds up nobody but those that are
 * rendered, and those for `renderMs`: the thread is ended, and another takes over. It is started when it is first needed.
 */
export class Renderer {
  readonly #limits: RendererLimits;
  #thread: Worker | undefined;
  #isReady = false;
  #waiting: Waiting[] = [];
  #underWay: Waiting | undefined;
  #limit: Timer | undefined;

  constructor(limits: Partial<RendererLimits> = {}) {
    this.#limits = { ...LIMITS, ...limits };
  }

  /**
   * @param text Liquid that writes JSON: see template.ts
   * @returns JSON text
   * @throws {TemplateError} when it cannot be read, fails for this event, takes too long, or writes what is no JSON
   */
  render(text: string, event: WebhookEvent): Promise<string> {
    const result = Promise.withResolvers<string>();
    this.#waiting.push({ task: { text, event }, result });
    this.#next();
    return result.promise;
  }

  /** Ends the thread; what was not rendered may be tried again. */
  stop(): void {
    for (const { result } of this.#waiting.splice(0)) result.reject(passing('the renderer was stopped'));
    this.#end('the renderer was stopped');
  }

  #next(): void {
    if (this.#underWay !== undefined || this.#waiting.length === 0) return;
    const thread = this.#thread ?? this.#start();
    if (!this.#isReady) return;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.#underWay = next;
    const { renderMs } = this.#limits;
    this.#limit = setTimeout(() => this.#end(`it takes longer than ${renderMs} ms`), renderMs);
    thread.postMessage(next.task);
  }

  #start(): Worker {
    const thread = new Worker(new URL('./template-thread.ts', import.meta.url).href);
    // It keeps no process alive.
    thread.unref();
    this.#thread = thread;
    this.#isReady = false;
    const { startMs } = this.#limits;
    this.#limit = setTimeout(
      () => this.#failAll(`templates cannot be rendered: no thread within ${startMs} ms`),
      startMs,
    );
    thread.onmessage = ({ data }: MessageEvent<RenderAnswer>) => {
      if (thread === this.#thread) this.#onAnswer(data);
    };
    thread.onerror = ({ message }) => {
      if (thread === this.#thread) this.#failAll(`templates cannot be rendered: ${message}`);
    };
    return thread;
  }

  #onAnswer(answer: RenderAnswer): void {
    clearTimeout(this.#limit);
    if (answer.kind === 'ready') this.#isReady = true;
    else {
      const done = this.#underWay;
      this.#underWay = undefined;
      if (answer.kind === 'rendered') done?.result.resolve(answer.body);
      else done?.result.reject(new TemplateError(answer.reason, answer, answer.isPassing));
    }
    this.#next();
  }

  /** The thread does not come up: those who wait are told, and the next one tries it anew. */
  #failAll(reason: string): void {
    const waiting = this.#waiting.splice(0);
    this.#end(reason);
    for (const { result } of waiting) result.reject(passing(reason));
  }

  #end(reason: string): void {
    clearTimeout(this.#limit);
    this.#thread?.terminate();
    this.#thread = undefined;
    this.#isReady = false;
    const cut = this.#underWay;
    this.#underWay = undefined;
    cut?.result.reject(passing(reason));
    this.#next();
  }
}

const passing = (reason: string) => new TemplateError(reason, {}, true);
