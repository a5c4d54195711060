import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { redeliver } from '../../src/webhook/deliveries.ts';
import { dueRequests } from '../../src/webhook/delivery-queue.ts';
import { Lane, type LaneParts } from '../../src/webhook/lane.ts';
import { Recorder } from '../../src/webhook/recorder.ts';
import { type Outcome, readRetryAfter } from '../../src/webhook/retry.ts';
import { SharedBytes } from '../../src/webhook/shared-bytes.ts';
import { toSubscription } from '../../src/webhook/subscription.ts';
import { ENGINES, quiet } from '../support/database.ts';
import { until } from '../support/until.ts';
import { BOUNDS, createWorker, RULES, type WebhookWorker } from './worker.ts';

const DELIVERED: Outcome = { kind: 'delivered' };
const refused = (retryAfterMs?: number): Outcome => ({ kind: 'retry', error: 'http 503', retryAfterMs });
const answer = (outcome: Outcome) => ({ outcome, status: outcome.kind === 'delivered' ? 200 : 503, excerpt: null });

describe.each(ENGINES)('the lane of a webhook on %s', (engine) => {
  let worker: WebhookWorker;
  let lanes: Lane[];
  /** Ids of the events of each attempt, in the order in which they began. */
  let sent: string[][];
  beforeEach(async () => {
    worker = await createWorker(engine);
    lanes = [];
    sent = [];
  });
  afterEach(async () => {
    await Promise.all(lanes.map((lane) => lane.stop()));
    await worker.stop();
  });

  const subscription = async (uuid: string) => toSubscription(await worker.row(uuid));
  const lane = async (
    uuid: string,
    judge: (ids: string[]) => Outcome | Promise<Outcome>,
    more?: Partial<LaneParts>,
  ) => {
    const recorder = new Recorder(worker.db, quiet, () => {}, BOUNDS);
    const made = new Lane(
      {
        ...{ db: worker.db, recorder, logger: quiet, rules: RULES },
        memory: new SharedBytes(1_000_000),
        async attempt(_, { deliveries }) {
          const ids = deliveries.map(({ eventId }) => eventId);
          sent.push(ids);
          return answer(await judge(ids));
        },
        leads: () => true,
        now: Date.now,
        random: () => 0.5,
        ...more,
      },
      await subscription(uuid),
    );
    lanes.push(made);
    return made;
  };
  const states = async () => (await worker.rows()).map(({ state }) => state);
  const allDelivered = (count: number) =>
    until('all delivered', async () => (await states()).filter((state) => state === 'delivered').length === count);

  test('in order, what fails goes before all that was read ahead, each time', async () => {
    const uuid = await worker.subscribe({ ordered: true });
    const ids = await worker.enqueue(20);
    const tries = new Map<string, number>();
    await lane(uuid, ([id = '']) => {
      tries.set(id, (tries.get(id) ?? 0) + 1);
      return tries.get(id) === 3 ? DELIVERED : refused();
    });
    await allDelivered(20);
    expect(sent.flat()).toEqual(ids.flatMap((id) => [id, id, id]));
  });

  test('what is under way, or waits for its record, is not sent a second time', async () => {
    const uuid = await worker.subscribe({ concurrency: 8 });
    const ids = await worker.enqueue(40);
    const recorded = Promise.withResolvers<void>();
    const recorder = { record: () => recorded.promise, probing: async () => {} };
    const one = await lane(uuid, () => DELIVERED, { recorder });
    await until('all sent', () => sent.length >= 40);
    // Everything is pending still, as the database knows it.
    one.wake();
    await worker.rows();
    expect(sent.flat().sort()).toEqual([...ids].sort());
    const stopping = one.stop();
    recorded.resolve();
    await stopping;
  });

  test('what is recorded while the next are looked for is not among them', async () => {
    const uuid = await worker.subscribe();
    await worker.enqueue(3);
    const [first] = await worker.rows();
    const taken = new Set([first?.seq ?? 0]);
    const limits = { requests: 10, rows: 10, bytes: 1000 };
    const looking = dueRequests(worker.db, await subscription(uuid), taken, limits, Date.now());
    // Recorded now, seen as it was before.
    taken.clear();
    expect((await looking).requests.map(({ batch }) => batch)).toEqual([2, 3]);
  });

  test('results that cannot be written down are not piled up without end', async () => {
    const uuid = await worker.subscribe({ concurrency: 8 });
    await worker.enqueue(200);
    const recorded = Promise.withResolvers<void>();
    const one = await lane(uuid, () => DELIVERED, {
      recorder: { record: () => recorded.promise, probing: async () => {} },
    });
    await until('the limit', () => sent.length >= 64);
    for (let turn = 0; turn < 10; turn += 1) {
      one.wake();
      await worker.rows();
    }
    expect(sent.length).toBeLessThanOrEqual(64 + 8);
    const stopping = one.stop();
    recorded.resolve();
    await stopping;
  });

  test('large bodies are sent one at a time where memory is short, but are sent', async () => {
    const uuid = await worker.subscribe({ concurrency: 8 });
    await worker.enqueue(6, { text: 'x'.repeat(1000) });
    let underWay = 0;
    let most = 0;
    const judge = async () => {
      underWay += 1;
      most = Math.max(most, underWay);
      await worker.rows();
      underWay -= 1;
      return DELIVERED;
    };
    await lane(uuid, judge, { memory: new SharedBytes(100) });
    await allDelivered(6);
    expect(most).toBe(1);
  });

  test('a batch takes no more than a megabyte, and waits no longer once it has', async () => {
    const uuid = await worker.subscribe({ batch_size: 10, batch_wait_ms: 60_000, ordered: true });
    const ids = await worker.enqueue(5, { text: 'x'.repeat(400_000) });
    await lane(uuid, () => DELIVERED);
    await until('two batches', () => sent.length === 2);
    expect(sent).toEqual([ids.slice(0, 2), ids.slice(2, 4)]);
  });

  test('a batch that a killed node has sent comes again with the same events', async () => {
    const uuid = await worker.subscribe({ batch_size: 5, concurrency: 1 });
    const early = await worker.enqueue(3);
    const dying = Promise.withResolvers<Outcome>();
    await lane(uuid, () => dying.promise);
    await until('the first attempt', () => sent.length === 1);
    const late = await worker.enqueue(2);
    await lane(uuid, () => DELIVERED);
    await allDelivered(5);
    expect(sent.map((ids) => ids.sort())).toEqual([early, early, late].map((ids) => [...ids].sort()));
    dying.resolve(DELIVERED);
  });

  test('a node that no longer leads begins nothing', async () => {
    const uuid = await worker.subscribe();
    await worker.enqueue(3);
    let leads = false;
    const one = await lane(uuid, () => DELIVERED, { leads: () => leads });
    for (let turn = 0; turn < 10; turn += 1) {
      one.wake();
      await worker.rows();
    }
    expect(sent).toEqual([]);
    leads = true;
    one.wake();
    await allDelivered(3);
  });

  test('waits as long as the receiver asks for, when that is longer than its own pause', async () => {
    const uuid = await worker.subscribe();
    await worker.enqueue(1);
    const now = 1_795_231_317_000;
    const wait = readRetryAfter('3600', now);
    await lane(uuid, () => refused(wait), { now: () => now + 10_000_000_000 });
    const row = await until('the next attempt', async () =>
      (await worker.rows()).find(({ error }) => error === 'http 503'),
    );
    expect(row).toMatchObject({ state: 'pending', due_at: now + 10_000_000_000 + 3_600_000 });
  });

  test('in order, a dead letter that is sent again goes next, and the others keep their order', async () => {
    const uuid = await worker.subscribe({ ordered: true });
    const [first = '', ...others] = await worker.enqueue(6);
    let isWell = false;
    const going = Promise.withResolvers<void>();
    await lane(uuid, async ([id]) => {
      if (id === others[1]) await going.promise;
      return id !== first || isWell ? DELIVERED : { kind: 'dead', error: 'no' };
    });
    await until('the third', () => sent.length === 3);
    isWell = true;
    expect(await redeliver(worker.db, uuid, { all: true })).toBe(1);
    going.resolve();
    await allDelivered(6);
    expect(sent.flat().filter((id) => id !== first)).toEqual(others);
    expect(sent.flat().filter((id) => id === first)).toHaveLength(2);
  });

  describe('with a breaker', () => {
    const rules = { ...RULES, threshold: 3, pauseMs: 60_000, schedule: Array.from({ length: 20 }, () => 0.001) };
    const told = async () => {
      const rows = await worker.db.selectFrom('outbox').selectAll().orderBy('seq').execute();
      return rows.flatMap(
        (row) => /"(closed|open|half_open|disabled)"/.exec(JSON.stringify(row).replaceAll('\\', ''))?.[1] ?? [],
      );
    };

    test('stops at the threshold, probes with one request after the pause, and goes on when that arrives', async () => {
      const uuid = await worker.subscribe({ concurrency: 1 });
      await worker.enqueue(10);
      let now = Date.now();
      let isWell = false;
      const one = await lane(uuid, () => (isWell ? DELIVERED : refused()), { rules, now: () => now });
      const probes = async (state: string) => (await told()).filter((found) => found === state).length;
      await until('the breaker', async () => (await probes('open')) === 1);
      now += 59_999;
      one.wake();
      await worker.rows();
      expect(sent).toHaveLength(3);
      now += 1;
      one.wake();
      await until('the failed probe', async () => (await probes('open')) === 2);
      expect(sent).toHaveLength(4);
      isWell = true;
      now += 120_000;
      one.wake();
      await allDelivered(10);
      expect(await told()).toEqual(['open', 'half_open', 'open', 'half_open', 'closed']);
      expect(await worker.row(uuid)).toMatchObject({ consecutive_failures: 0, last_error: null });
    });

    test('lets exactly one through while it probes, however many are due and may be sent at once', async () => {
      const uuid = await worker.subscribe({ concurrency: 8 });
      await worker.enqueue(40);
      let now = Date.now();
      const probe = Promise.withResolvers<Outcome>();
      let isProbing = false;
      const one = await lane(uuid, () => (isProbing ? probe.promise : refused()), { rules, now: () => now });
      await until('the breaker', async () => (await told()).includes('open'));
      // What was under way when it opened.
      await until('the others', async () => (await worker.row(uuid)).attempts === sent.length);
      const before = sent.length;
      isProbing = true;
      now += 60_000;
      one.wake();
      await until('the probe', () => sent.length > before);
      for (let turn = 0; turn < 10; turn += 1) {
        one.wake();
        await worker.rows();
      }
      expect(sent.length).toBe(before + 1);
      probe.resolve(DELIVERED);
      await allDelivered(40);
    });

    test('a probe that a killed node began is begun anew', async () => {
      const uuid = await worker.subscribe();
      await worker.enqueue(1);
      const breaker = { state: 'half_open', failures: 3, failingSince: 1, probeAt: 2, openings: 1 };
      await worker.db
        .updateTable('webhook_subscriptions')
        .set({ breaker: JSON.stringify(breaker) })
        .execute();
      await lane(uuid, () => DELIVERED, { rules });
      await allDelivered(1);
    });

    test('disables a receiver that has failed for days, and not before', async () => {
      const uuid = await worker.subscribe({ concurrency: 1 });
      await worker.enqueue(5);
      const begun = Date.now();
      let now = begun;
      const one = await lane(uuid, () => refused(), { rules, now: () => now });
      for (let opened = 1; now < begun + rules.disableAfterMs; opened += 1) {
        await until('it to open', async () => (await told()).filter((state) => state === 'open').length === opened);
        expect((await worker.row(uuid)).enabled).toBe(1);
        // Two steps: one short of the limit, one past it.
        now += rules.disableAfterMs / 2 + 1;
        one.wake();
      }
      await until('the end', async () => (await worker.row(uuid)).enabled === 0);
      expect(await worker.row(uuid)).toMatchObject({ last_error: 'http 503', auto_disabled_at: expect.any(String) });
      expect(await told()).toContain('disabled');
    });
  });
});
