import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { Command, type Redis } from 'ioredis';
import { parseEntry, parseLogEntry } from '../../src/bus/entry.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { type Bus, createBus, DEFAULTS, idsOf, publication, publications, stored, storedLog } from './support.ts';

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
beforeEach(() => bus.redis.flushall());
afterAll(() => bus.stop());

const once = (all: ReturnType<typeof publications>) => all.map((each) => ({ ...each, once: true }));

/** A connection that loses the first answer to a script, and sends it again as it was. */
function stuttering(redis: Redis, meanwhile: () => Promise<unknown> = async () => {}): Redis {
  return new Proxy(redis, {
    get(target, name) {
      if (name !== 'sendCommand') return Reflect.get(target, name, target);
      return async ({ args }: Command) => {
        const send = () => target.sendCommand(new Command('evalsha', [...args], { replyEncoding: 'utf8' }));
        await send();
        await meanwhile();
        return send();
      };
    },
  });
}

describe('events that nobody sends again but the connection', () => {
  test('are published once, and answered as the first time', async () => {
    const log = new EventLog(stuttering(bus.redis), DEFAULTS);
    await bus.log.position('log');
    await bus.log.publish(publications(1)); // The server knows the script.
    const batch = once([...publications(3), publication('decky.web.state', { topology_id: 't1' })]);
    const answers = await log.publish(batch);
    expect(answers.map(({ id }) => id)).toEqual(batch.map(({ event }) => event.id));
    expect(answers.map(({ duplicate }) => duplicate)).toEqual([false, false, false, false]);
    expect(answers.map(({ offsets }) => offsets)).toEqual([
      { log: 2, identity: 2 },
      { log: 3, identity: 3 },
      { log: 4, identity: 4 },
      { log: 5, decky: 1, 'topology.t1': 1 },
    ]);
    expect(await storedLog(bus.redis)).toHaveLength(5);
  });

  test('are published anew after a flush in between', async () => {
    const redis = stuttering(bus.redis, () => bus.redis.flushall());
    await bus.log.publish(publications(1));
    const [answer] = await new EventLog(redis, DEFAULTS).publish(once(publications(1)));
    expect(answer).toMatchObject({ duplicate: false, offsets: { log: 1, identity: 1 } });
    expect(await storedLog(bus.redis)).toHaveLength(1);
  });

  test('leave one memory for all of them, which ends by itself', async () => {
    await bus.log.publish(once(publications(50)));
    expect(await bus.redis.keys(keys.published('*'))).toEqual([]);
    const [call, ...others] = await bus.redis.keys(keys.call('*'));
    expect(others).toEqual([]);
    const remaining = await bus.redis.pttl(call ?? '');
    expect(remaining).toBeGreaterThan(0);
    expect(remaining).toBeLessThanOrEqual(60_000);
  });

  test('are published once where one that travels with them is refused, and keep their order', async () => {
    await bus.log.position('log'); // Minting the epoch would clear the obstacle away.
    await bus.redis.set(keys.stream('topology.broken'), 'not a stream');
    const log = new EventLog(bus.redis, DEFAULTS);
    const first = log.publish(once([publication('a.first')]));
    const batch = once([...publications(2), publication('topology.broken.status'), ...publications(2)]);
    const outcomes = await Promise.allSettled(batch.map((each) => log.publish([each])));
    await first;
    expect(outcomes.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
    ]);
    const good = batch.filter((_, index) => index !== 2).map(({ event }) => event.id);
    expect(idsOf(await storedLog(bus.redis)).slice(1)).toEqual(good);
    expect(idsOf(await stored(bus.redis, 'identity'))).toEqual(good);
    expect((await bus.log.position('identity')).offset).toBe(4);
  });
});

describe('an entry', () => {
  test('that was written before, with a field for each word, reads as one of now', () => {
    const before = ['chain', '0 0a1b2c3d 120', 'id', 'e1', 'topic', 'decky.web.state', 'data', '{"n":1}'];
    const now = ['chain', '0 0a1b2c3d 120 7 e1 decky.web.state', 'data', '{"n":1}'];
    expect(parseEntry(['4-0', [...before, 'revision', '7']])).toEqual(parseEntry(['4-0', now]));
    expect(parseEntry(['4-0', now])).toEqual({
      ...{ offset: 4, before: '0', proof: '0a1b2c3d', id: 'e1', topic: 'decky.web.state', data: '{"n":1}' },
      revision: 7,
    });
    const at = 'decky 1 7 0 aaaaaaaa topology.t1 2 0 bbbbbbbb cccccccc';
    const log = ['chain', `0 0a1b2c3d 120 0 e1 decky.web.state ep0ch000 1795231317.125000 ${at}`, 'data', '{"n":1}'];
    const logBefore = parseLogEntry([
      '4-0',
      [...before, 'epoch', 'ep0ch000', 'published', '1795231317.125000', 'at', at],
    ]);
    expect(logBefore).toEqual(parseLogEntry(['4-0', log]));
    expect(parseLogEntry(['4-0', [...before, 'epoch', 'ep0ch000', 'at', at]])).toEqual(logBefore);
    expect(logBefore.places).toEqual([
      { channel: 'decky', offset: 1, revision: 7, before: '0', proof: 'aaaaaaaa' },
      { channel: 'topology.t1', offset: 2, revision: 0, before: 'bbbbbbbb', proof: 'cccccccc' },
    ]);
  });

  test('of a foreign writer reads as empty', () => {
    expect(parseLogEntry(['4-0', ['x', 'y']])).toEqual({
      ...{ offset: 4, before: '0', proof: '0', id: '', topic: '', data: '{}', revision: 0, epoch: '', places: [] },
    });
  });
});
