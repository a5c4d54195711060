import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';
import { type WsAnswer, WsClient } from '../support/ws-client.ts';

const PIPELINED = 2000;

let plane: Plane;
let node: App;
let token: string;
const sockets: WsClient[] = [];

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  token = await plane.token(node.url);
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
});
afterAll(() => plane.stop());

async function open(init: Parameters<typeof WsClient.open>[1] = { token }): Promise<WsClient> {
  const socket = await WsClient.open(node.url, init);
  sockets.push(socket);
  return socket;
}

interface Result {
  readonly id: string;
  readonly epoch: string;
  readonly duplicate: boolean;
  readonly offsets: Record<string, number>;
  readonly error?: { readonly code: number; readonly name: string; readonly retry: boolean; readonly detail: string };
}

const resultsOf = (answer: WsAnswer | undefined) => answer?.results as Result[];
const newId = () => crypto.randomUUID();
const event = (n: number, id?: string) => ({
  topic: 'attacker.observed',
  type: 'observed',
  payload: { n },
  ...(id === undefined ? {} : { id }),
});

describe('publishing on a socket', () => {
  test('is acknowledged with the place of the event, and the event reaches an EventSource’s and a socket’s stream', async () => {
    const socket = await open();
    await socket.subscribe('a', '/events?topics=attacker.>');
    const [result] = resultsOf(await socket.ask({ op: 'publish', event: event(1) }));
    expect(result?.epoch).toMatch(/^[0-9a-z]{8}$/);
    expect(Object.keys(result?.offsets ?? {}).sort()).toEqual(['attacker', 'log']);
    await until('the event', () => socket.of('a').length === 2);
    expect(socket.of('a')[1]).toMatchObject({ data: { topic: 'attacker.observed', payload: { n: 1 } } });
    expect(socket.of('a')[1]?.id).toStartWith(`${result?.epoch}.${result?.offsets.log}.`);
  });

  test('without waiting for answers keeps its order, in answers and in the log, however messages and batches are mixed', async () => {
    const socket = await open();
    await socket.subscribe('a', '/events?topics=attacker.>');
    let n = 0;
    const messages: number[][] = [];
    while (n < PIPELINED) {
      const size = (messages.length % 7) + 1;
      const numbers = Array.from({ length: size }, () => {
        n += 1;
        return n;
      });
      messages.push(numbers);
      const events = numbers.map((number) => event(number));
      socket.send({ op: 'publish', ref: messages.length, ...(size === 1 ? { event: events[0] } : { events }) });
    }
    const answers = () => socket.answers.filter(({ op }) => op === 'published');
    await until('all answers', () => answers().length === messages.length);
    expect(answers().map(({ ref }) => ref)).toEqual(messages.map((_, index) => index + 1));
    const offsets = answers().flatMap((answer) => resultsOf(answer).map((result) => result.offsets.log ?? 0));
    expect(offsets).toEqual(offsets.map((_, index) => (offsets[0] ?? 0) + index));
    await until('all events', () => socket.of('a').length === 1 + n);
    expect(socket.of('a').flatMap(({ data }) => data.payload?.n ?? [])).toEqual(offsets.map((_, index) => index + 1));
  });

  test('again with the same id is told the first place; with another event it is refused, and the rest of the batch is not', async () => {
    const socket = await open();
    const [id, other] = [newId(), newId()];
    const [first] = resultsOf(await socket.ask({ op: 'publish', event: event(1, id) }));
    const answer = await socket.ask({ op: 'publish', events: [event(1, id), event(2, id), event(3, other)] });
    const [same, conflict, last] = resultsOf(answer);
    expect(same).toEqual({ ...first, duplicate: true } as Result);
    expect(conflict?.error).toMatchObject({ code: 4409, name: 'conflict', retry: false });
    expect(last?.offsets.log).toBe((first?.offsets.log ?? 0) + 1);
    // The same ids, the same places, whichever way they come.
    const http = await call(node.url, token, 'POST', '/events', event(3, other));
    expect(await http.json()).toEqual({ ...last, duplicate: true });
    expect((await call(node.url, token, 'POST', '/events', event(4, other))).status).toBe(409);
  });

  test('tells for each event what is wrong with it, and publishes the others', async () => {
    const socket = await open();
    const events = [event(1), { topic: 7 }, { topic: 'no topic' }, 'none', { ...event(2), id: 'a b' }, event(3)];
    const results = resultsOf(await socket.ask({ op: 'publish', events }));
    const [names, codes] = [results.map(({ error }) => error?.name), results.map(({ error }) => error?.code)];
    expect(names).toEqual([undefined, 'invalid', 'invalid', 'invalid', 'invalid', undefined]);
    expect(codes[1]).toBe(4422);
    expect((results[5]?.offsets.log ?? 0) - (results[0]?.offsets.log ?? 0)).toBe(1);
    for (const message of [{ events: [] }, { event: event(1), events: [event(1)] }, { events: 'x' }]) {
      expect(await socket.ask({ op: 'publish', ...message })).toMatchObject({ op: 'error', name: 'invalid' });
    }
  });

  test('is for those who may do it over HTTP', async () => {
    const socket = await open({ token: await plane.token(node.url, 'viewer') });
    expect(await socket.ask({ op: 'publish', event: event(1) })).toMatchObject({ op: 'error', name: 'forbidden' });
  });

  test('with Redis away is refused; the same ids again are then published once, in order', async () => {
    const socket = await open();
    const ids = Array.from({ length: 5 }, newId);
    await plane.redis.down();
    const refused = await Promise.all(ids.map((id, n) => socket.ask({ op: 'publish', event: event(n, id) })));
    for (const answer of refused) expect(answer).toMatchObject({ op: 'error', name: 'unavailable', retry: true });
    await plane.redis.up();
    const again = () => Promise.all(ids.map((id, n) => socket.ask({ op: 'publish', event: event(n, id) })));
    const answers = await until('redis to take them', async () => {
      const told = await again();
      return told.every(({ op }) => op === 'published') && told;
    });
    const offsets = answers.map((answer) => resultsOf(answer)[0]?.offsets.log ?? 0);
    expect(offsets).toEqual(offsets.map((_, index) => (offsets[0] ?? 0) + index));
  });
});
