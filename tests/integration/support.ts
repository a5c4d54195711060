import type { Redis } from 'ioredis';
import { keys } from '../../src/bus/keys.ts';
import type { App } from '../../src/main.ts';
import { forgeToken, goodClaims } from '../auth/support.ts';
import { call, type Plane } from '../support/app.ts';
import { type ReceivedFrame, SseClient } from '../support/sse-client.ts';
import { insertTopology } from '../topology/support.ts';

type Node = Pick<App, 'url'>;

/** The streams that a test opens; its end closes them. */
export class Clients {
  readonly #open: SseClient[] = [];

  /** @param path below `/api/v1`, with its query */
  async open(node: Node, path: string, init: Parameters<typeof SseClient.open>[1] = {}): Promise<SseClient> {
    const client = await SseClient.open(`${node.url}/api/v1${path}`, init);
    this.#open.push(client);
    return client;
  }

  close(): void {
    for (const client of this.#open.splice(0)) client.close();
  }
}

/** An active topology without anything in it. */
export async function newTopology(plane: Plane): Promise<string> {
  const id = crypto.randomUUID();
  await insertTopology(plane.database.db, id);
  return id;
}

/** The consumer groups of a topology's channel: name and position. */
export async function groupsOf(redis: Redis, topologyId: string): Promise<{ name: string; position: string }[]> {
  const key = keys.stream(`topology.${topologyId}`);
  if ((await redis.exists(key)) === 0) return [];
  const groups = await redis.xinfo('GROUPS', key);
  if (!Array.isArray(groups)) throw new Error('XINFO GROUPS answers a list');
  return groups.map((group: unknown[]) => {
    const field = (name: string) => String(group[group.indexOf(name) + 1]);
    return { name: field('name'), position: field('last-delivered-id') };
  });
}

/** What `POST /events` says about an event. */
export interface Published {
  readonly epoch: string;
  readonly offsets: Record<string, number>;
}

/** Publishes an event; throws unless it was accepted. */
export async function publish(node: Node, token: string, topic: string, payload: object = {}): Promise<Published> {
  const response = await call(node.url, token, 'POST', '/events', { topic, payload });
  if (response.status !== 202) throw new Error(`publishing was answered by ${response.status}`);
  return JSON.parse(await response.text());
}

/** Publishes an event that a topology's stream shows as `decky.state`. */
export function publishState(node: Node, token: string, topologyId: string, state: string): Promise<Published> {
  return publish(node, token, 'decky.web-1.state', { topology_id: topologyId, state });
}

/** Queues a mutation; throws unless it was accepted. */
export async function enqueue(node: Node, token: string, topologyId: string, name = 'lan'): Promise<void> {
  const body = { op: 'add_lan', payload: { name } };
  const response = await call(node.url, token, 'POST', `/topologies/${topologyId}/mutations`, body);
  if (response.status !== 202) throw new Error(`a mutation was answered by ${response.status}`);
}

/** Redeemable once, on any node. */
export async function mintTicket(node: Node, token: string): Promise<string> {
  const response = await call(node.url, token, 'POST', '/auth/sse-ticket');
  return JSON.parse(await response.text()).ticket;
}

/** A user of a test's own, with a token that is a minute old: what changes this second must not spare it. */
export async function newUser(plane: Plane, node: Node, role: 'admin' | 'viewer' = 'viewer') {
  const username = `user-${crypto.randomUUID()}`;
  const token = await plane.token(node.url, role, username);
  const { uuid } = await plane.database.db
    .selectFrom('users')
    .select('uuid')
    .where('username', '=', username)
    .executeTakeFirstOrThrow();
  return { username, uuid, token, olderToken: tokenOf(plane, uuid, { age: 60 }) };
}

/**
 * A token signed with the secret of the plane.
 * @param times seconds: since it was issued, and until it expires
 */
export function tokenOf(plane: Plane, uuid: string, { age = 0, life = 600 }: { age?: number; life?: number }): string {
  const claims = goodClaims(uuid);
  const now = Number(claims.iat);
  return forgeToken({ ...claims, iat: now - age, exp: now + life }, { secret: plane.config.auth.jwtSecret });
}

const CONTROL = ['snapshot', 'ready', 'resumed', 'reset', 'position', 'evicted'];

/** The frames that are events. */
export function eventsOf(frames: readonly ReceivedFrame[]): ReceivedFrame[] {
  return frames.filter(({ event }) => !CONTROL.includes(event));
}

/** The offsets in the ids of frames. */
export function offsetsOf(frames: readonly ReceivedFrame[]): number[] {
  return frames.map(({ id }) => Number(id.split('.')[1]));
}

/** `from` to `to`, both included. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

/** Checks a refusal: the status, and a JSON body that says in `detail` what is wrong. */
export async function refusal(response: Response | undefined): Promise<{ status: number; detail: string }> {
  const body: unknown = JSON.parse((await response?.text()) ?? '');
  if (typeof body !== 'object' || body === null || !('detail' in body) || typeof body.detail !== 'string') {
    throw new Error('a refusal without detail');
  }
  return { status: response?.status ?? 0, detail: body.detail };
}
