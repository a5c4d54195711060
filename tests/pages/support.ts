import { expect } from 'bun:test';
import type { Engine } from '../../src/db/database.ts';
import type { App } from '../../src/main.ts';
import { Clients, mintTicket } from '../integration/support.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import type { SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';
import { faultsOf, type Shape } from './shape.ts';
import { STORY, type Told } from './story.ts';

// biome-ignore lint/suspicious/noExplicitAny: a page reads any field; their kinds are checked by shapes
type Body = any;

/** A server with the story in its read models, and a browser in front of it. */
export interface Visit {
  readonly plane: Plane;
  readonly node: App;
  readonly admin: string;
  readonly viewer: string;
  /** A request of a page, as a viewer: it must be answered by 200 and the shape. A list of rows is `[shape]`. */
  get(path: string, shape?: Shape | readonly [Shape], token?: string): Promise<Body>;
  /** A request that a page knows how to be refused: the status, and a text in `detail`. */
  refused(path: string, token?: string, init?: { method?: string; body?: unknown }): Promise<number>;
  /** A stream as the pages open one: with a ticket in the query. */
  stream(path: string): Promise<SseClient>;
  /** Publishes, and waits for nothing else. */
  publish(events: readonly Told[]): Promise<void>;
  /** Publishes and waits until the read models have it. */
  tell(events: readonly Told[]): Promise<void>;
  stop(): Promise<void>;
}

export const LIMIT_MS = 60_000;

export async function visit(engine: Engine, story: readonly Told[] = STORY): Promise<Visit> {
  const plane = await createPlane(engine);
  const clients = new Clients();
  const node = await plane.node({}, { ROLES: 'api,relay,housekeeper,projector' });
  const [admin, viewer] = [await plane.token(node.url, 'admin'), await plane.token(node.url, 'viewer')];
  const read = async (path: string, token: string, method = 'GET', body?: unknown) => {
    const response = await call(node.url, token, method, path, body);
    return { status: response.status, text: await response.text() };
  };
  const visited: Visit = {
    plane,
    node,
    admin,
    viewer,
    async get(path, shape, token = viewer) {
      const { status, text } = await read(path, token);
      if (status !== 200) throw new Error(`${path} was answered by ${status}: ${text}`);
      const body: Body = JSON.parse(text);
      if (shape !== undefined) expect(faultsIn(body, shape)).toEqual([]);
      return body;
    },
    async refused(path, token = viewer, { method, body } = {}) {
      const { status, text } = await read(path, token, method, body);
      // Pages show it, and go blank when it is no text.
      expect(JSON.parse(text)).toEqual({ detail: expect.any(String) });
      return status;
    },
    async stream(path) {
      const ticket = await mintTicket(node, viewer);
      return clients.open(node, `${path}${path.includes('?') ? '&' : '?'}ticket=${ticket}`);
    },
    async publish(events) {
      for (const [topic, type, payload] of events) {
        const { status, text } = await read('/events', admin, 'POST', { topic, type, payload });
        if (status !== 202) throw new Error(`${topic} was answered by ${status}: ${text}`);
      }
    },
    async tell(events) {
      await visited.publish(events);
      await until('the read models to have it', () => isCaughtUp(node), 20_000);
    },
    async stop() {
      clients.close();
      await plane.stop();
    },
  };
  await visited.tell(story);
  return visited;
}

function faultsIn(body: Body, shape: Shape | readonly [Shape]): string[] {
  return Array.isArray(shape) ? faultsOf({ rows: body }, { rows: [shape[0]] }) : faultsOf(body, shape as Shape);
}

async function isCaughtUp(node: App): Promise<boolean> {
  const { checks }: Body = await (await fetch(`${node.url}/readyz`)).json();
  const { ok: _, ...lags } = checks.projections;
  return Object.values(lags).every((lag: Body) => lag.events === 0);
}
