/** The thread that renders templates for {@link Renderer}: one task at a time, until somebody ends it. */
import type { WebhookEvent } from './body.ts';
import { EventTemplate } from './template.ts';
import { TemplateError } from './template-error.ts';

declare const self: Worker;

export interface RenderTask {
  readonly text: string;
  readonly event: WebhookEvent;
}

/** `ready`: it was loaded and takes tasks. */
export type RenderAnswer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'rendered'; readonly body: string }
  | {
      readonly kind: 'failed';
      readonly reason: string;
      readonly line: number | undefined;
      readonly column: number | undefined;
      readonly isPassing: boolean;
    };

/** Templates that were read; one is many times its text. */
const MOST_KEPT = 16;
const kept = new Map<string, EventTemplate>();

function read(text: string): EventTemplate {
  const template = kept.get(text) ?? new EventTemplate(text);
  // The one used last comes last.
  kept.delete(text);
  kept.set(text, template);
  const [oldest] = kept.keys();
  if (oldest !== undefined && kept.size > MOST_KEPT) kept.delete(oldest);
  return template;
}

function render({ text, event }: RenderTask): RenderAnswer {
  try {
    return { kind: 'rendered', body: read(text).render(event) };
  } catch (error) {
    const { reason, line, column, isPassing } =
      error instanceof TemplateError ? error : new TemplateError(error instanceof Error ? error.message : 'it failed');
    return { kind: 'failed', reason, line, column, isPassing };
  }
}

self.onmessage = ({ data }: MessageEvent<RenderTask>) => self.postMessage(render(data));
self.postMessage({ kind: 'ready' } satisfies RenderAnswer);
