import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import type { Entry } from '../../src/bus/entry.ts';
import { Groups } from '../../src/bus/groups.ts';
import { keys } from '../../src/bus/keys.ts';
import { seeded } from '../support/random.ts';
import { type Bus, createBus, idsOf, offsetsOf, publication, upTo } from './support.ts';

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
beforeEach(() => bus.redis.flushall());
afterAll(() => bus.stop());

const createGroups = () => new Groups('n1', bus.redis, [bus.server.client()], { leaseMs: 60_000 });

describe('a group that is read by bytes', () => {
  test('reads no more bytes than asked for, unless a single event is larger, and misses nothing by it', async () => {
    const random = seeded(23);
    const size = () => random.pick([10, 10, 10, 400, 3_000, 30_000, 200_000]);
    const events = upTo(300).map(() => publication('identity.formed', { padding: 'x'.repeat(size()) }));
    for (let start = 0; start < events.length; start += 50) await bus.log.publish(events.slice(start, start + 50));
    const groups = createGroups();
    const group = await groups.open('c1', 'identity', 0);
    for (const bytes of [1, 500, 5_000, 40_000, 65_536, 1_000_000]) {
      await groups.moveTo(group, 0);
      const found: Entry[] = [];
      while (found.length < events.length) {
        const count = random.pick([1, 2, 7, 1000]);
        const entries = await groups.read(group, found.at(-1)?.offset ?? 0, { events: count, bytes });
        const total = entries.reduce((sum, { data }) => sum + data.length, 0);
        expect(entries.length).toBeGreaterThan(0);
        expect(entries.length).toBeLessThanOrEqual(count);
        if (entries.length > 1) expect(total).toBeLessThanOrEqual(bytes);
        found.push(...entries);
      }
      expect(idsOf(found)).toEqual(events.map(({ event }) => event.id));
    }
  });

  test('reads on by bytes over a trimmed beginning', async () => {
    await bus.log.publish(upTo(10).map(() => publication('identity.formed', { padding: 'x'.repeat(1000) })));
    const groups = createGroups();
    const group = await groups.open('c1', 'identity', 0);
    await bus.redis.xtrim(keys.stream('identity'), 'MINID', '5-0');
    const entries = await groups.read(group, 0, { events: 1000, bytes: 3_500 });
    expect(offsetsOf(entries)).toEqual([5, 6, 7]);
  });
});
