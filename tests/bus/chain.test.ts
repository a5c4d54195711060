import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { NO_PROOF } from '../../src/bus/cursor.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { type Bus, createBus, DEFAULTS, idsOf, publication, publications, stored, storedLog } from './support.ts';

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
beforeEach(() => bus.redis.flushall());
afterAll(() => bus.stop());

/** The proofs of a channel's places 0, 1, 2 … by the definition: each chains the id of its event to the one before. */
function chainOf(ids: readonly string[]): string[] {
  const proofs = [NO_PROOF];
  for (const id of ids) {
    const hash = new Bun.CryptoHasher('sha1').update(`${proofs.at(-1)}${id}`).digest('hex');
    proofs.push(hash.slice(0, 8));
  }
  return proofs;
}

describe('the chain of a channel', () => {
  test('proves with each place all events up to it, in the channel and in the log', async () => {
    const topics = ['identity.formed', 'decky.web.state', 'topology.t1.status', 'decky.web.state'];
    for (let round = 0; round < 5; round += 1) {
      await bus.log.publish(topics.map((topic) => publication(topic, { topology_id: 't1' })));
    }
    const log = await storedLog(bus.redis);
    for (const channel of ['identity', 'decky', 'topology.t1', 'log']) {
      const entries = channel === 'log' ? log : await stored(bus.redis, channel);
      const chain = chainOf(idsOf(entries));
      expect(entries.map(({ proof }) => proof)).toEqual(chain.slice(1));
      expect(entries.map(({ before }) => before)).toEqual(chain.slice(0, -1));
      expect(await bus.log.position(channel)).toMatchObject({ offset: entries.length, proof: chain.at(-1) ?? '' });
      // What the tail hands on is what the channel holds.
      const places = log.flatMap((entry) => entry.places.filter((place) => place.channel === channel));
      if (channel !== 'log') expect(places.map(({ proof }) => proof)).toEqual(chain.slice(1));
    }
  });

  test('is the same whether events come one by one or together, and not touched by repetitions', async () => {
    const events = publications(6);
    await bus.log.publish(events.slice(0, 1));
    await bus.log.publish(events.slice(0, 4));
    await bus.log.publish(events);
    const proof = chainOf(events.map(({ event }) => event.id)).at(-1);
    expect(await bus.log.position('identity')).toMatchObject({ offset: 6, proof: proof ?? '' });
  });

  test('parts for good where one event differs, whatever comes then', async () => {
    const [one, other, ...rest] = publications(4);
    const proofs: string[][] = [];
    for (const first of [one, other]) {
      await bus.redis.flushall();
      await bus.log.publish([...(first === undefined ? [] : [first]), ...rest]);
      proofs.push((await stored(bus.redis, 'identity')).map(({ proof }) => proof));
    }
    const [left = [], right = []] = proofs;
    expect(left).toHaveLength(3);
    for (const [index, proof] of left.entries()) expect(right[index]).not.toBe(proof);
  });

  test('goes on over trimming and a deleted stream', async () => {
    const events = publications(6);
    await bus.log.publish(events.slice(0, 4));
    await bus.redis.xtrim(keys.stream('identity'), 'MAXLEN', 0);
    await bus.log.publish(events.slice(4, 5));
    await bus.redis.del(keys.stream('identity'));
    await bus.log.publish(events.slice(5));
    const chain = chainOf(events.map(({ event }) => event.id));
    expect((await bus.log.position('identity')).proof).toBe(chain.at(-1) ?? '');
    expect((await stored(bus.redis, 'identity'))[0]?.before).toBe(chain[5] ?? '');
  });

  test('of a forgotten channel begins again', async () => {
    await bus.log.publish(publications(2, 'topology.t1.status'));
    await bus.log.publish([{ ...publication('system.topology.deleted'), forget: 'topology.t1' }]);
    const again = publication('topology.t1.status');
    const [published] = await bus.log.publish([again]);
    expect(published?.offsets['topology.t1']).toBe(1);
    expect((await bus.log.position('topology.t1')).proof).toBe(chainOf([again.event.id])[1] ?? '');
  });
});

describe('the proof of a reader’s place', () => {
  test('is known at the tip and wherever the next event is kept, and nowhere else', async () => {
    const events = publications(6);
    await bus.log.publish(events);
    const chain = chainOf(events.map(({ event }) => event.id));
    const proofAt = async (offset: number) => (await bus.log.position('identity', offset)).readerProof;
    const everywhere = () => Promise.all([0, 1, 2, 3, 4, 5, 6, 7, 99].map(proofAt));
    expect(await everywhere()).toEqual([...chain, '', '']);
    await bus.redis.xtrim(keys.stream('identity'), 'MINID', '4-0');
    expect(await everywhere()).toEqual(['', '', '', ...chain.slice(3), '', '']);
    await bus.redis.xtrim(keys.stream('identity'), 'MAXLEN', 0);
    expect(await everywhere()).toEqual(['', '', '', '', '', '', ...chain.slice(6), '', '']);
    // Its place stays when the stream is gone: who has everything goes on.
    await bus.redis.del(keys.stream('identity'));
    expect(await proofAt(6)).toBe(chain[6] ?? '');
  });

  test('at the start of a channel without events is that of the start', async () => {
    expect(await bus.log.position('identity', 0)).toMatchObject({ proof: NO_PROOF, readerProof: NO_PROOF });
    expect((await bus.log.position('identity', 1)).readerProof).toBe('');
  });

  test('is not asked for, and not told, without a reader', async () => {
    await bus.log.publish(publications(2));
    expect((await bus.log.position('identity')).readerProof).toBe('');
  });

  test('holds for large numbers', async () => {
    const offset = 2 ** 52;
    await bus.log.publish(publications(1));
    await bus.redis.hset(keys.meta, 'offset:identity', String(offset));
    await bus.redis.del(keys.stream('identity'));
    const [event] = publications(1);
    if (event === undefined) throw new Error('no event');
    const before = (await bus.log.position('identity')).proof;
    expect((await bus.log.publish([event]))[0]?.offsets.identity).toBe(offset + 1);
    expect(await bus.log.position('identity', offset)).toMatchObject({ nextKept: true, readerProof: before });
  });
});

describe('the relay’s publishing', () => {
  const TERM = 7;
  const place = async () => {
    const { epoch, offset, proof } = await bus.log.position('log');
    return { epoch, offset, proof };
  };

  test('says where the log stands then, also when all was known already', async () => {
    const events = publications(3);
    const start = await place();
    const after = await bus.log.relay(events, TERM, start);
    expect(after).toEqual({
      epoch: start.epoch,
      offset: 3,
      proof: chainOf(events.map(({ event }) => event.id))[3] ?? '',
    });
    await bus.log.publish(publications(2)); // Of others.
    expect(await bus.log.relay(events, TERM, after)).toEqual(await place());
    expect(await storedLog(bus.redis)).toHaveLength(5);
  });

  test.each([
    ['an offset that the log does not reach', (known: Place) => ({ ...known, offset: known.offset + 1 })],
    ['another proof', (known: Place) => ({ ...known, proof: 'deadbeef' })],
    ['another epoch', (known: Place) => ({ ...known, epoch: 'other' })],
  ] as const)('goes into no log that is known otherwise: %s', async (_what, change) => {
    await bus.log.publish(publications(2));
    await expect(bus.log.relay(publications(1), TERM, change(await place()))).rejects.toThrow('does not hold');
    expect(await storedLog(bus.redis)).toHaveLength(2);
  });

  type Place = Awaited<ReturnType<typeof place>>;

  test('of a leader that slept, while another published it and its id was forgotten, is refused', async () => {
    const [mine, ...others] = publications(3);
    if (mine === undefined) throw new Error('no event');
    const short = new EventLog(bus.redis, { ...DEFAULTS, idempotencyMs: 1 });
    const known = await place();
    const after = await short.relay([mine, ...others], TERM + 1, known);
    await short.acknowledge([mine.event.id]);
    while ((await bus.redis.exists(keys.published(mine.event.id))) === 1);
    await expect(short.relay([mine], TERM, known)).rejects.toMatchObject({ name: 'FencedOffError', newest: TERM + 1 });
    expect(await place()).toEqual(after);
    // The control: without a term it is taken for new.
    const [again] = await short.publish([mine]);
    expect(again?.duplicate).toBe(false);
  });
});
