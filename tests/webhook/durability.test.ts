import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { LOG_CHANNEL } from '../../src/bus/channel.ts';
import { keys } from '../../src/bus/keys.ts';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';
import { type Receiver, startReceiver, startWebhookPlane, WEBHOOK_ENV, type WebhookPlane } from './plane.ts';

/** Nodes are started and killed, on machines that may be busy. */
const LIMIT_MS = 60_000;
setDefaultTimeout(2 * LIMIT_MS);

const WORKER = {
  ...WEBHOOK_ENV,
  ROLES: 'webhook',
  DECNET_WEBHOOK_CIRCUIT_THRESHOLD: '1000000',
  DECNET_WEBHOOK_RETRY_SECONDS: '0.05,0.1,0.2,0.2,0.2,0.2,0.2,0.2',
};

describe.each(ENGINES)('webhooks survive on %s', (engine) => {
  let hooks: WebhookPlane;
  let receiver: Receiver;
  beforeEach(async () => {
    // The API alone: the workers are processes of their own, which die.
    hooks = await startWebhookPlane(engine, { ROLES: 'api,relay,housekeeper' });
    receiver = startReceiver();
  });
  afterEach(async () => {
    await hooks.stop();
    await receiver.stop();
  });
  const worker = () => hooks.plane.child(WORKER);
  const delivered = (uuid: string, count: number) =>
    until(`${count} deliveries`, async () => (await hooks.look(uuid)).stats.delivered >= count, LIMIT_MS);

  test('workers that are killed at any time: every event arrives or is a dead letter', async () => {
    let requests = 0;
    let killing: (() => void) | undefined;
    receiver.answer = () => {
      requests += 1;
      // Now and then between the answer and its record, now and then before the answer.
      if (requests % 10 === 0) killing?.();
      return new Response('', { status: requests % 4 === 0 ? 503 : 200 });
    };
    const { uuid } = await hooks.subscribe(receiver, { concurrency: 8 });
    const ids: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      const child = await worker();
      const killed = Promise.withResolvers<void>();
      killing = () => {
        killing = undefined;
        child.kill();
        killed.resolve();
      };
      ids.push(...(await hooks.publish('attacker.scored', 20)));
      await killed.promise;
    }
    killing = undefined;
    await worker();
    await delivered(uuid, 60);
    expect(new Set(receiver.ids())).toEqual(new Set(ids));
    expect((await hooks.look(uuid)).stats).toMatchObject({ delivered: 60, dead: 0, pending: 0 });
  });

  test('two workers at once deliver each event once', async () => {
    const { uuid } = await hooks.subscribe(receiver);
    await Promise.all([worker(), worker()]);
    const ids = await hooks.publish('attacker.scored', 60);
    await delivered(uuid, 60);
    expect(receiver.ids().sort()).toEqual(ids.sort());
  });

  test('edits on another node under load miss nothing and repeat nothing', async () => {
    const { uuid } = await hooks.subscribe(receiver, { concurrency: 8 });
    await worker();
    const ids: string[] = [];
    let isOver = false;
    const editing = (async () => {
      for (let round = 0; !isOver; round += 1) {
        await hooks.call('PATCH', `/webhooks/${uuid}`, {
          topic_patterns: round % 2 === 0 ? ['attacker.scored', '*.scored'] : ['attacker.>'],
          ...{ concurrency: 1 + (round % 8), batch_size: 1 + (round % 3), ordered: round % 2 === 0 },
        });
        await hooks.call('POST', `/webhooks/${uuid}/rotate-secret`, { grace_seconds: 60 });
        await hooks.call('POST', '/webhooks/reencrypt');
      }
    })();
    for (let round = 0; round < 10; round += 1) ids.push(...(await hooks.publish('attacker.scored', 20)));
    isOver = true;
    await editing;
    await delivered(uuid, ids.length);
    expect(receiver.ids().sort()).toEqual(ids.sort());
  });

  test('a backlog that is full waits in the log, is seen, and arrives whoever is killed meanwhile', async () => {
    const small = { ...WORKER, DECNET_WEBHOOK_MOST_EVENTS: '10' };
    let isUp = false;
    receiver.answer = () => new Response('', { status: isUp ? 200 : 503 });
    const { uuid } = await hooks.subscribe(receiver, { concurrency: 8 });
    const ids: string[] = [];
    let child = await hooks.plane.child({ ...small, DECNET_WEBHOOK_RETRY_SECONDS: '1,600' });
    for (let round = 0; round < 4; round += 1) {
      ids.push(...(await hooks.publish('attacker.scored', 40)));
      await until('its waiting', async () => (await hooks.look(uuid)).stats.pending >= 10, LIMIT_MS);
    }
    const full = await until(
      'it to be full',
      async () => {
        const look = await hooks.look(uuid);
        return look.behind === null ? undefined : look;
      },
      LIMIT_MS,
    );
    expect(full.behind).toEqual({ since: expect.any(String), log_offset: expect.any(Number) });
    expect(full.stats.pending).toBeLessThan(ids.length);
    isUp = true;
    for (let round = 0; round < 2; round += 1) {
      child.kill();
      child = await hooks.plane.child(small);
    }
    // What was tried already is due in minutes: an operator does not wait.
    await hooks.plane.database.db.updateTable('webhook_deliveries').set({ due_at: 0 }).execute();
    await delivered(uuid, ids.length);
    expect(new Set(receiver.ids())).toEqual(new Set(ids));
    await until('it to stand where all do', async () => (await hooks.look(uuid)).behind === null, LIMIT_MS);
    expect((await hooks.look(uuid)).missed).toEqual([]);
  });

  test('what was published while no worker ran is delivered by the next', async () => {
    const first = await worker();
    const { uuid } = await hooks.subscribe(receiver);
    const [early = ''] = await hooks.publish('attacker.scored', 1);
    await delivered(uuid, 1);
    await first.stop();
    const late = await hooks.publish('attacker.scored', 10);
    await worker();
    await delivered(uuid, 11);
    expect(receiver.ids().sort()).toEqual([early, ...late].sort());
  });

  test('what was published before any worker ever ran is delivered by the first', async () => {
    const { uuid } = await hooks.subscribe(receiver);
    const ids = await hooks.publish('attacker.scored', 3);
    // In the log, not only on its way there.
    const redis = hooks.plane.redis.client();
    await until('the log', async () => (await redis.xlen(keys.stream(LOG_CHANNEL))) >= 4, LIMIT_MS);
    await worker();
    await delivered(uuid, 3);
    expect(receiver.ids().sort()).toEqual(ids.sort());
  });

  test('history that was trimmed before it was dispatched is told on the subscription', async () => {
    const first = await worker();
    const { uuid } = await hooks.subscribe(receiver);
    await hooks.publish('attacker.scored', 1);
    await delivered(uuid, 1);
    await first.stop();
    const lost = await hooks.publish('attacker.scored', 5);
    const redis = hooks.plane.redis.client();
    const log = keys.stream(LOG_CHANNEL);
    const [newest] = await redis.xrevrange(log, '+', '-', 'COUNT', 1);
    const offset = Number(newest?.[0].split('-')[0]);
    await redis.xtrim(log, 'MINID', `${offset}-0`);
    await worker();
    const shown = await until(
      'the note',
      async () => {
        const look = await hooks.look(uuid);
        return look.missed.length > 0 ? look : undefined;
      },
      LIMIT_MS,
    );
    expect(shown.missed).toEqual([expect.objectContaining({ reason: 'trimmed', to: offset - 1 })]);
    // The one that was kept is delivered.
    await delivered(uuid, 2);
    expect(receiver.ids()).toContain(lost.at(-1) ?? '');
  });

  test('a log that was replaced is told on the subscription, and goes on', async () => {
    await worker();
    const { uuid } = await hooks.subscribe(receiver);
    await hooks.publish('attacker.scored', 2);
    await delivered(uuid, 2);
    await hooks.plane.redis.client().flushall();
    const ids = await hooks.publish('attacker.scored', 2);
    await delivered(uuid, 4);
    expect(receiver.ids()).toEqual(expect.arrayContaining(ids));
    expect((await hooks.look(uuid)).missed).toEqual([expect.objectContaining({ reason: 'epoch' })]);
  });

  test('a receiver that hangs, resets, lies, drips and redirects: each event arrives or is a dead letter', async () => {
    let turn = 0;
    const never = new Promise<Response>(() => {});
    const answers: (() => Response | Promise<Response>)[] = [
      () => new Response('', { status: 200 }),
      () => new Response('', { status: 500 }),
      () => new Response('', { status: 302, headers: { location: 'http://127.0.0.1:1/' } }),
      () => new Response('', { status: 200 }),
      () => never,
      () => new Response('', { status: 429, headers: { 'retry-after': '0' } }),
      () => new Response('', { status: 404 }),
    ];
    receiver.answer = () => {
      turn += 1;
      return answers[turn % answers.length]?.() ?? new Response('');
    };
    await hooks.plane.child({ ...WORKER, DECNET_WEBHOOK_TIMEOUT_SECONDS: '1' });
    const { uuid } = await hooks.subscribe(receiver, { concurrency: 16 });
    const ids = await hooks.publish('attacker.scored', 50);
    const { stats } = await until(
      'an end for all',
      async () => {
        const look = await hooks.look(uuid);
        return look.stats.delivered + look.stats.dead === 50 ? look : undefined;
      },
      LIMIT_MS,
    );
    expect(stats.pending).toBe(0);
    expect(stats.delivered).toBeGreaterThan(0);
    expect(stats.dead).toBeGreaterThan(0);
    expect(new Set(receiver.ids())).toEqual(new Set(ids));
  });
});
