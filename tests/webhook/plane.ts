import { newEventId } from '../../src/bus/event.ts';
import type { Engine } from '../../src/db/database.ts';
import type { StartOptions } from '../../src/main.ts';
import { call, createPlane, type Plane } from '../support/app.ts';

/** Settings of a node that delivers webhooks to this machine, quickly. */
export const WEBHOOK_ENV = {
  ROLES: 'api,relay,housekeeper,webhook',
  DECNET_WEBHOOK_ALLOW_PRIVATE: 'true',
  DECNET_WEBHOOK_RETRY_SECONDS: '0.01,0.02,0.04',
} as const;

export interface Received {
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly text: string;
}

/** A receiver of webhooks; what it answers is up to the test. */
export interface Receiver {
  readonly url: string;
  readonly received: Received[];
  /** Ids of the events in arrival order, those of batches one by one. */
  ids(): string[];
  answer: (request: Received) => Response | Promise<Response>;
  stop(): Promise<void>;
}

export function startReceiver(): Receiver {
  const received: Received[] = [];
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    idleTimeout: 60,
    async fetch(request) {
      const one = {
        path: new URL(request.url).pathname,
        headers: Object.fromEntries(request.headers),
        text: await request.text(),
      };
      received.push(one);
      return receiver.answer(one);
    },
  });
  const receiver: Receiver = {
    url: `http://127.0.0.1:${server.port}/hook`,
    received,
    ids: () => received.flatMap(idsOf),
    answer: () => new Response('ok'),
    stop: () => server.stop(true),
  };
  return receiver;
}

/** The events that a request tells. */
export function idsOf({ text }: Pick<Received, 'text'>): string[] {
  const body: unknown = JSON.parse(text);
  const all: unknown[] = Array.isArray(body) ? body : [body];
  return all.map((event) => (typeof event === 'object' && event !== null && 'id' in event ? String(event.id) : ''));
}

/** A subscription as the API shows it, as far as tests look. */
export interface Subscribed {
  readonly uuid: string;
  readonly secret: string;
  readonly enabled: boolean;
  readonly consecutive_failures: number;
  readonly last_error: string | null;
  readonly auto_disabled_at: string | null;
  readonly breaker: { readonly state: string };
  readonly stats: {
    readonly delivered: number;
    readonly pending: number;
    readonly dead: number;
    readonly attempts: number;
  };
  readonly behind: { readonly since: string; readonly log_offset: number } | null;
  readonly missed: readonly { readonly reason: string; readonly from: number; readonly to: number | null }[];
}

export interface WebhookPlane {
  readonly plane: Plane;
  readonly url: string;
  readonly token: string;
  call(method: string, path: string, body?: unknown): Promise<Response>;
  subscribe(receiver: { readonly url: string }, options?: object): Promise<Subscribed>;
  look(uuid: string): Promise<Subscribed>;
  /** Publishes events `<topic>` with these numbers. @returns their ids, in order */
  publish(topic: string, count: number, payload?: object): Promise<string[]>;
  stop(): Promise<void>;
}

export async function startWebhookPlane(
  engine: Engine,
  overrides: Record<string, string> = {},
  options: StartOptions = {},
): Promise<WebhookPlane> {
  const plane = await createPlane(engine);
  const { url } = await plane.node(options, { ...WEBHOOK_ENV, ...overrides });
  const token = await plane.token(url);
  const ask = (method: string, path: string, body?: unknown) => call(url, token, method, path, body);
  let names = 0;
  return {
    ...{ plane, url, token },
    call: ask,
    async subscribe(receiver, options = {}) {
      names += 1;
      const wanted = { name: `hook-${names}`, url: receiver.url, topic_patterns: ['attacker.>'], ...options };
      const response = await ask('POST', '/webhooks/', wanted);
      if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
      return JSON.parse(await response.text());
    },
    async look(uuid) {
      return JSON.parse(await (await ask('GET', `/webhooks/${uuid}`)).text());
    },
    async publish(topic, count, payload = {}) {
      const ids = Array.from({ length: count }, () => newEventId());
      for (const [number, id] of ids.entries()) {
        const response = await ask('POST', '/events', { id, topic, type: 'test', payload: { number, ...payload } });
        if (response.status !== 202) throw new Error(`${response.status} ${await response.text()}`);
      }
      return ids;
    },
    stop: () => plane.stop(),
  };
}
