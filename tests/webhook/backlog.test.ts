import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { CatchUp, Overtaken } from '../../src/webhook/catch-up.ts';
import { Dispatcher, type DispatcherParts } from '../../src/webhook/dispatcher.ts';
import { findStanding, moveStanding } from '../../src/webhook/standing.ts';
import { ENGINES, quiet } from '../support/database.ts';
import { until } from '../support/until.ts';
import { MemoryLog } from './memory-log.ts';
import { type Receiver, startReceiver } from './plane.ts';
import { createWorker, RULES, type WebhookWorker } from './worker.ts';

/** One step of the dispatcher may go past the bound: so many events at most. */
const STEP = 100;

describe.each(ENGINES)('a backlog that is full on %s', (engine) => {
  let worker: WebhookWorker;
  let receiver: Receiver;
  let log: MemoryLog;
  let stops: (() => Promise<void>)[];
  beforeEach(async () => {
    worker = await createWorker(engine);
    receiver = startReceiver();
    log = new MemoryLog();
    stops = [];
    // The log was there before.
    log.append(3);
    await findStanding(worker.db, log);
  });
  afterEach(async () => {
    await Promise.all(stops.map((stop) => stop()));
    await worker.stop();
    await receiver.stop();
  });

  /** Who dispatches delivers. */
  const NODE = 'one node';
  const bounds = { events: 10, bytes: 1_000_000 };
  const dispatcher = (parts: Partial<DispatcherParts> = {}) => {
    const made = new Dispatcher({
      ...{ db: worker.db, node: crypto.randomUUID(), leaseMs: 1000, logger: quiet, history: log, bounds },
      ...{ onDispatched: () => {}, onCommitted: () => {} },
      ...parts,
    });
    log.onMore(() => made.wake());
    stops.push(() => made.stop());
    made.start();
    return made;
  };
  const rowsOf = async (uuid: string) =>
    worker.db.selectFrom('webhook_deliveries').selectAll().where('subscription', '=', uuid).orderBy('seq').execute();
  const idsOf = async (uuid: string) => (await rowsOf(uuid)).map(({ event_id }) => event_id);
  const isBehind = async (uuid: string) => (await worker.row(uuid)).behind !== null;
  const told = async (uuid: string) =>
    (await worker.db.selectFrom('outbox').select(['topic', 'type']).orderBy('seq').execute())
      .filter(({ topic }) => topic === `system.webhook.${uuid}.backlog`)
      .map(({ type }) => type);
  /** As if they had arrived. */
  const drain = async (uuid: string) => {
    await worker.db
      .updateTable('webhook_deliveries')
      .set({ state: 'delivered' })
      .where('subscription', '=', uuid)
      .execute();
    await worker.db
      .updateTable('webhook_stock')
      .set({ events: 0, bytes: 0 })
      .where('subscription', '=', uuid)
      .where('state', '=', 'pending')
      .execute();
  };
  const drainAll = (uuid: string) =>
    until('it to catch up', async () => {
      await drain(uuid);
      return !(await isBehind(uuid));
    });

  test('grows no further, holds up nobody, and each event comes once when there is room', async () => {
    const slow = await worker.subscribe();
    const quick = await worker.subscribe();
    dispatcher();
    const first = log.append(30);
    await until('the first', async () => (await rowsOf(slow)).length === 30);
    await drain(quick);
    const ids = [...first];
    for (let round = 0; round < 5; round += 1) {
      const more = log.append(40);
      ids.push(...more);
      await until('the others', async () => (await idsOf(quick)).length === ids.length);
      await drain(quick);
      expect(await isBehind(slow)).toBe(true);
      expect((await rowsOf(slow)).length).toBe(30);
    }
    expect(await told(slow)).toEqual(['full']);
    await drainAll(slow);
    expect(await idsOf(slow)).toEqual(ids);
    expect(await told(slow)).toEqual(['full', 'caught_up']);
    // And follows as before.
    const [last = ''] = log.append(1);
    await until('the next', async () => (await idsOf(slow)).at(-1) === last);
    expect(await idsOf(quick)).toEqual([...ids, last]);
  });

  test('is bounded in bytes, too', async () => {
    const uuid = await worker.subscribe();
    dispatcher({ bounds: { events: 1000, bytes: 5000 } });
    log.append(3, 'attacker.scored', { text: 'x'.repeat(3000) });
    await until('the first', async () => (await rowsOf(uuid)).length === 3);
    log.append(3, 'attacker.scored', { text: 'x'.repeat(3000) });
    await until('it to be full', () => isBehind(uuid));
    expect(await rowsOf(uuid)).toHaveLength(3);
    await drainAll(uuid);
    expect(await rowsOf(uuid)).toHaveLength(6);
  });

  test('what matches nothing leaves it where it is', async () => {
    const uuid = await worker.subscribe({ topic_patterns: ['decky.>'] });
    const other = await worker.subscribe();
    dispatcher({ bounds: { events: 1, bytes: 1_000_000 } });
    log.append(1, 'decky.a.state');
    await until('the first', async () => (await rowsOf(uuid)).length === 1);
    await drain(other);
    log.append(2);
    await until('the others', async () => (await rowsOf(other)).length === 3);
    expect(await isBehind(uuid)).toBe(false);
  });

  test('what the log has trimmed meanwhile is noted on it, and on no other', async () => {
    const slow = await worker.subscribe();
    const quick = await worker.subscribe();
    dispatcher();
    const first = log.append(30);
    await until('the first', async () => (await rowsOf(quick)).length === 30);
    await drain(quick);
    const lost = log.append(25);
    await until('the second', async () => (await rowsOf(quick)).length === 55);
    await drain(quick);
    log.trim(5);
    await drainAll(slow);
    expect(await idsOf(slow)).toEqual([...first, ...lost.slice(-5)]);
    const missed = async (uuid: string) => JSON.parse((await worker.row(uuid)).missed);
    // Three were there before, thirty were written down.
    expect(await missed(slow)).toEqual([{ reason: 'trimmed', from: 34, to: 53, at: expect.any(String) }]);
    expect(await missed(quick)).toEqual([]);
  });

  test.each([
    [0, 'is empty'],
    [20, 'ends before the place of all'],
    [45, 'ends before the place of the others'],
  ])('a log that came back older is noted, and what it still has comes once: with %i events it %s', async (kept) => {
    const slow = await worker.subscribe();
    const quick = await worker.subscribe();
    dispatcher();
    const first = log.append(30);
    await until('the first', async () => (await rowsOf(quick)).length === 30);
    await drain(quick);
    const second = log.append(20);
    await until('the second', async () => (await rowsOf(quick)).length === 50);
    await drain(quick);
    log.loseNewest('e2', kept);
    const third = log.append(3);
    await until('the third', async () => (await rowsOf(quick)).length === 53);
    // What was delivered longer ago is no longer known.
    await worker.db.deleteFrom('webhook_deliveries').where('subscription', '=', slow).execute();
    await drainAll(slow);
    // Three events were in the log before the first.
    expect(await idsOf(slow)).toEqual([...second.slice(0, Math.max(0, kept - 33)), ...third]);
    expect(await idsOf(quick)).toEqual([...first, ...second, ...third]);
    for (const uuid of [slow, quick]) {
      expect(JSON.parse((await worker.row(uuid)).missed)).toEqual([expect.objectContaining({ reason: 'epoch' })]);
    }
  });

  test('nodes that take over from each other while it catches up repeat nothing and skip nothing', async () => {
    const uuid = await worker.subscribe();
    const first = dispatcher();
    const ids = log.append(30);
    await until('the first', async () => (await rowsOf(uuid)).length === 30);
    for (let round = 0; round < 3; round += 1) ids.push(...log.append(150));
    await until('it to be full', () => isBehind(uuid));
    // Neither knows of the other: as if both had slept for longer than their leases, again and again.
    const others = [dispatcher(), dispatcher()];
    const robbing = setInterval(
      () =>
        void worker.db
          .deleteFrom('leases')
          .execute()
          .catch(() => {}),
      5,
    );
    stops.push(async () => clearInterval(robbing));
    await drainAll(uuid);
    clearInterval(robbing);
    await Promise.all([first, ...others].map((one) => one.stop()));
    expect(await idsOf(uuid)).toEqual(ids);
  });

  /** One that is behind by the last twenty events, and the place where all others stand. */
  const someoneBehind = async () => {
    const uuid = await worker.subscribe();
    const node = dispatcher();
    const first = log.append(30);
    await until('the first', async () => (await rowsOf(uuid)).length === 30);
    const second = log.append(20);
    await until('it to be full', () => isBehind(uuid));
    await node.stop();
    await drain(uuid);
    return { uuid, first, second, at: await findStanding(worker.db, log) };
  };
  const catchUp = (history: DispatcherParts['history'] = log) =>
    new CatchUp({ db: worker.db, bounds, logger: quiet, history, onDispatched: () => {}, onCommitted: () => {} });

  test('a node that comes late repeats nothing, also when it was delivered and removed meanwhile', async () => {
    const { uuid, first, second, at } = await someoneBehind();
    const held = Promise.withResolvers<void>();
    const isAsked = Promise.withResolvers<void>();
    const slow = catchUp({
      range: () => log.range(),
      async read(place) {
        isAsked.resolve();
        await held.promise;
        return log.read(place);
      },
    });
    const late = slow.step(at);
    await isAsked.promise;
    await catchUp().step(at);
    expect(await idsOf(uuid)).toEqual([...first, ...second]);
    await worker.db.deleteFrom('webhook_deliveries').execute();
    held.resolve();
    await late;
    expect(await rowsOf(uuid)).toEqual([]);
  });

  test('a node that comes late does not say that it has caught up when all others are further', async () => {
    const { uuid, at } = await someoneBehind();
    const node = catchUp();
    await node.step(at);
    await drain(uuid);
    // As another node leaves it that has dispatched one more, to all that are not behind.
    const [next = ''] = log.append(1);
    const end = { ...at, ...(await log.range()).end };
    await worker.db.transaction().execute((trx) => moveStanding(trx, at, end));
    await expect(node.step(at)).rejects.toBeInstanceOf(Overtaken);
    expect(await isBehind(uuid)).toBe(true);
    await node.step(end);
    expect((await idsOf(uuid)).at(-1)).toBe(next);
    await drain(uuid);
    await node.step(end);
    expect(await isBehind(uuid)).toBe(false);
  });

  test('an edit, a pause and a change of all sorts while it is behind lose nothing', async () => {
    const uuid = await worker.subscribe();
    const own = worker.subscriptions();
    dispatcher();
    const ids = log.append(30);
    await until('the first', async () => (await rowsOf(uuid)).length === 30);
    ids.push(...log.append(60));
    await until('it to be full', () => isBehind(uuid));
    await own.update(uuid, { enabled: false });
    ids.push(...log.append(60));
    await drain(uuid);
    await own.update(uuid, { enabled: true });
    const editing = (async () => {
      for (let round = 0; round < 10; round += 1) {
        await own.update(uuid, { topic_patterns: round % 2 === 0 ? ['attacker.>'] : ['attacker.scored'] });
        await own.rotateSecret(uuid, undefined, 10);
      }
    })();
    await drainAll(uuid);
    await editing;
    expect(await idsOf(uuid)).toEqual(ids);
  });

  test('one that is deleted is gone, with what it had', async () => {
    const uuid = await worker.subscribe();
    const other = await worker.subscribe();
    dispatcher();
    log.append(30);
    await until('the first', async () => (await rowsOf(uuid)).length === 30);
    log.append(10);
    await until('it to be full', () => isBehind(uuid));
    await worker.subscriptions().delete(uuid);
    await drainAll(other);
    await until('the others', async () => (await rowsOf(other)).length === 40);
    expect(await rowsOf(uuid)).toHaveLength(30);
    expect(await worker.db.selectFrom('webhook_stock').selectAll().where('subscription', '=', uuid).execute()).toEqual(
      [],
    );
  });

  test('of a receiver that was down drains in order once it is up, and nothing is missing', async () => {
    let isUp = false;
    receiver.answer = () => new Response('', { status: isUp ? 200 : 503 });
    const rules = { ...RULES, threshold: 3, pauseMs: 20, longestPauseMs: 20, schedule: Array(5000).fill(0.005) };
    const uuid = await worker.subscribe({ url: receiver.url, ordered: true });
    const deliverer = worker.deliverer({ rules, bounds, node: NODE });
    dispatcher({ node: NODE, onDispatched: (uuids) => deliverer.wakeLanes(uuids) });
    const ids: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      ids.push(...log.append(60));
      await until('it to fail', () => receiver.received.length > round);
      expect((await rowsOf(uuid)).filter(({ state }) => state === 'pending').length).toBeLessThanOrEqual(
        bounds.events + STEP,
      );
    }
    await until('it to be full', () => isBehind(uuid));
    isUp = true;
    receiver.received.length = 0;
    await until('all', async () => new Set(receiver.ids()).size === ids.length, 20_000);
    expect([...new Set(receiver.ids())]).toEqual(ids);
    await until('it to catch up', async () => !(await isBehind(uuid)));
  });
});
