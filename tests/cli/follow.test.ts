import { afterEach, expect, test } from 'bun:test';
import { Api } from '../../src/cli/api.ts';
import { type Followed, Follower, type FollowOptions } from '../../src/cli/follow.ts';

/** A server whose connections go wrong in ways that ours does not. */
const servers: Bun.Server<undefined>[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop(true)));
});

const place = (offset: number) => `e.${offset}.0000000${offset}`;
const ready = (offset: number) => `retry: 1\n\nid: ${place(offset)}\nevent: ready\ndata: {"position":"x"}\n\n`;
const resumed = (offset: number) => ready(offset).replace('ready', 'resumed');
const frame = (offset: number, prev = offset - 1) =>
  `id: ${place(offset)}\ndata: {"prev":"${place(prev)}","topic":"a.b","type":"","ts":1,"payload":{}}\n\n`;
const stream = (...frames: string[]) =>
  new Response(frames.join(''), { headers: { 'content-type': 'text/event-stream; charset=utf-8' } });

/** Answers the requests one after the other, the last answer again and again; tells what was asked. */
function serve(...answers: (() => Response)[]) {
  const asked: { cursor: string | null; since: string | null }[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    // One that says nothing keeps its connections.
    idleTimeout: 0,
    fetch({ url, headers }) {
      asked.push({ cursor: headers.get('last-event-id'), since: new URL(url).searchParams.get('since') });
      return (answers.length > 1 ? answers.shift() : answers[0])?.() ?? new Response(null, { status: 500 });
    },
  });
  servers.push(server);
  return { asked, api: new Api(`http://127.0.0.1:${server.port}`, 'token') };
}

async function follow(api: Api, most: number, options: Partial<FollowOptions> = {}) {
  const stop = new AbortController();
  const defaults = { patterns: ['>'], once: false, takesLess: true, signal: stop.signal };
  const follower = new Follower(api, { ...defaults, ...options });
  const [ids, steps]: [string[], Followed[]] = [[], []];
  for await (const step of follower.run()) {
    steps.push(step);
    if (step.kind === 'events') ids.push(...step.events.map(({ id }) => id));
    if (ids.length >= most) stop.abort();
  }
  return { ids, steps };
}

test('takes nothing behind a gap, and asks again from the last event before it', async () => {
  const { api, asked } = serve(
    () => stream(ready(0), frame(1), frame(3, 2), frame(4)),
    () => stream(resumed(1), frame(2), frame(3), frame(4)),
  );
  const { ids } = await follow(api, 4);
  expect(ids).toEqual([place(1), place(2), place(3), place(4)]);
  expect(asked.map(({ cursor }) => cursor)).toEqual([null, place(1)]);
});

test('comes back after whatever passes, and asks for the time only until it has a cursor', async () => {
  const { api, asked } = serve(
    () => stream(resumed(0), frame(1)),
    () => Response.json({ detail: 'draining' }, { status: 503 }),
    () => Response.json({ detail: 'SSE connection limit (5) reached' }, { status: 429 }),
    () => stream('retry: 1\n\n'),
    () => stream(resumed(1), frame(2)),
  );
  const { ids } = await follow(api, 2, { since: '10m' });
  expect(ids).toEqual([place(1), place(2)]);
  expect(asked).toEqual([
    { cursor: null, since: '10m' },
    ...Array.from({ length: 4 }, () => ({ cursor: place(1), since: null })),
  ]);
});

test('an answer to once that says nothing is no answer: the server was about to stop', async () => {
  const { api, asked } = serve(
    () => stream('retry: 1\n\n'),
    () => stream(ready(0)),
  );
  expect((await follow(api, 9, { once: true })).ids).toEqual([]);
  expect(asked).toHaveLength(2);
});

test('takes a server that says nothing for gone', async () => {
  const silent = () => {
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode(ready(0) + frame(1))),
    });
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  };
  const { api, asked } = serve(silent, () => stream(resumed(1), frame(2)));
  const { ids } = await follow(api, 2, { silenceMs: 50 });
  expect(ids).toEqual([place(1), place(2)]);
  expect(asked).toHaveLength(2);
});

test('ends when the session has ended', async () => {
  const { api } = serve(
    () => stream(ready(0), frame(1)),
    () => Response.json({ detail: 'Could not validate credentials' }, { status: 401 }),
  );
  await expect(follow(api, 9)).rejects.toMatchObject({ exit: 'unauthenticated' });
});

test('goes nowhere else with its token', async () => {
  const elsewhere = serve(() => stream(ready(0), frame(1)));
  const { api } = serve(() => Response.redirect(`${elsewhere.api.url}/api/v1/events`, 307));
  await expect(follow(api, 1)).rejects.toMatchObject({ exit: 'usage' });
  expect(elsewhere.asked).toEqual([]);
});
