import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { createPlane, type Plane } from '../support/app.ts';
import type { SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';
import { Clients, newTopology, newUser, publishState, range, refusal } from './support.ts';

const LIMIT_MS = 30_000;
const CAP = 5;

const clients = new Clients();
let plane: Plane;
let one: App;
let other: App;
let admin: string;
beforeAll(async () => {
  plane = await createPlane();
  const cap = { DECNET_SSE_MAX_PER_USER: String(CAP) };
  [one, other] = [await plane.node({}, cap), await plane.node({}, cap)];
  admin = await plane.token(one.url);
});
afterEach(() => clients.close());
afterAll(() => plane.stop());

/** Six tabs of one user: five have a stream, the sixth had one and comes back. */
async function sixTabs() {
  const { token } = await newUser(plane, one);
  const id = await newTopology(plane);
  const open = (node: App, lastId?: string) =>
    clients.open(node, `/topologies/${id}/events`, lastId === undefined ? { token } : { token, lastId });
  const tabs: SseClient[] = [];
  for (const number of range(1, CAP)) {
    const tab = await open(number % 2 === 0 ? other : one);
    await tab.untilEvent('snapshot');
    tabs.push(tab);
  }
  const sixth = await open(other, tabs[0]?.lastId);
  expect(sixth.status).toBe(200);
  // The oldest; two may have come in the same millisecond.
  const gone = await until('one to be evicted', () => tabs.find(({ ended }) => ended));
  return { id, open, gone, others: tabs.filter((tab) => tab !== gone), sixth };
}

test(
  'six tabs at a cap of five: one is told that it was evicted, waits for a slot, and puts nobody else out',
  async () => {
    const { id, open, gone, others, sixth } = await sixTabs();
    const evicted = await gone.untilEvent('evicted');
    expect(gone.end).toBe('finished');
    expect(JSON.parse(evicted.data).detail).toContain('close one');
    expect(evicted.id).toMatch(/^\w+\.\d+\.(0|[0-9a-f]{8})\.e$/);

    // As an EventSource does, again and again, on either node.
    for (const node of [one, other, one]) {
      const refused = await open(node, evicted.id);
      expect(await refusal(refused.response)).toMatchObject({ status: 429 });
    }
    await publishState(one, admin, id, 'up');
    for (const tab of [...others, sixth]) {
      await tab.untilEvent('decky.state');
      expect(tab.ended).toBe(false);
      expect(tab.named('evicted')).toEqual([]);
    }

    others[0]?.close();
    const back = await until('a free slot', async () => {
      const tab = await open(one, evicted.id);
      return tab.status === 200 && tab;
    });
    // It goes on where it was: what came meanwhile is told, and its next id is one like any other.
    const missed = await back.untilEvent('decky.state');
    expect(back.frames[0]?.event).toBe('resumed');
    expect(back.named('reset')).toEqual([]);
    expect(missed.id).not.toEndWith('.e');
    for (const tab of [...others.slice(1), sixth]) expect(tab.ended).toBe(false);
  },
  LIMIT_MS,
);

test(
  'a half-dead predecessor is still taken over, by a cursor without the mark, also after an eviction',
  async () => {
    const { open, others, sixth } = await sixTabs();
    // The proxy in front of the sixth lost it; its browser is back before anybody has noticed.
    const successor = await open(one, sixth.lastId);
    expect(successor.status).toBe(200);
    await until('one to be evicted', () => [...others, sixth].some(({ ended }) => ended));
    expect([...others, sixth].filter(({ ended }) => ended)).toHaveLength(1);
  },
  LIMIT_MS,
);
