import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import type { JsonObject } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { listeners, subscription } from '../../src/bus/subscription.ts';
import { Tail } from '../../src/bus/tail.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { Worker, type WorkerOptions } from '../../src/worker/worker.ts';
import { type Bus, createBus, DEFAULTS, publication, stored } from '../bus/support.ts';
import { quiet } from '../support/database.ts';
import { whenReady } from '../support/redis.ts';
import { until } from '../support/until.ts';

const NOW = 1_795_231_317_125;

describe('a worker', () => {
  let bus: Bus;
  let connections: RedisConnections;
  let workers: Worker[];
  beforeAll(async () => {
    bus = await createBus();
  });
  beforeEach(async () => {
    await bus.redis.flushall();
    workers = [];
    connections = connectRedis(bus.server.url, quiet);
    await whenReady(connections);
  });
  afterEach(async () => {
    await Promise.all(workers.map((worker) => worker.stop()));
    connections.close();
  });
  afterAll(() => bus.stop());

  const start = (options: Partial<WorkerOptions> = {}) => {
    const events = new EventLog(connections.commands, DEFAULTS);
    const worker = new Worker({ name: 'mutator', events, logger: quiet, stop: async () => {}, ...options });
    workers.push(worker);
    worker.start();
    return worker;
  };
  const heartbeats = async () =>
    (await stored(bus.redis, 'system')).map(({ topic, data }) => {
      const { type, ts, payload }: { type: string; ts: number; payload: JsonObject } = JSON.parse(data);
      return { topic, type, ts, payload };
    });
  const untilBeats = (count: number) =>
    until(`${count} heartbeats`, async () => (await heartbeats()).length >= count && heartbeats());

  test('says at once that it lives, with what else it wants to tell', async () => {
    start({ now: () => NOW, extra: () => ({ queues: 3 }) });
    expect(await untilBeats(1)).toEqual([
      {
        topic: 'system.mutator.health',
        type: 'health',
        ts: NOW / 1000,
        payload: { worker: 'mutator', ts: NOW / 1000, queues: 3 },
      },
    ]);
  });

  test('says so again and again, until it is stopped', async () => {
    const worker = start({ heartbeatMs: 5 });
    await untilBeats(3);
    await worker.stop();
    const count = (await heartbeats()).length;
    worker.start();
    const other = start({ name: 'webhook' });
    await until('the other', async () => (await heartbeats()).some(({ topic }) => topic === 'system.webhook.health'));
    expect((await heartbeats()).length).toBe(count + 1);
    await other.stop();
  });

  test('lives on while Redis is down, complains once, and is heard again afterwards', async () => {
    const lines: string[] = [];
    const log = createLog('warn', (line) => lines.push(line));
    let attempts = 0;
    const extra = () => {
      attempts += 1;
      return { attempts };
    };
    start({ heartbeatMs: 5, logger: log, extra });
    await untilBeats(1);
    await bus.server.down();
    const before = attempts;
    await until('lost heartbeats', () => attempts > before + 3);
    await bus.server.up();
    const [first] = await untilBeats(1);
    await until('a new one', async () => {
      const beats = await heartbeats();
      return Number(beats.at(-1)?.payload.attempts) > before + 3;
    });
    expect(first?.topic).toBe('system.mutator.health');
    expect(lines.filter((line) => line.includes('heartbeat'))).toHaveLength(1);
  });

  describe('told over the bus', () => {
    let tail: Tail;
    let told: number;
    let heard: string[];
    const listen = (options: Partial<WorkerOptions> = {}) => {
      told = 0;
      heard = [];
      const worker = start({
        stop: async () => {
          told += 1;
        },
        ...options,
      });
      const all = subscription(
        ['>'],
        ({ topic }) => heard.push(topic),
        () => {},
      );
      tail = new Tail(
        connections.openTail,
        new EventLog(connections.commands, DEFAULTS),
        listeners([worker.listener, all], quiet),
        quiet,
      );
      tail.start();
    };
    afterEach(() => tail.stop());
    const say = (topic: string, payload: JsonObject) => bus.log.publish([publication(topic, payload)]);

    test('to stop stops its work, once, and falls silent', async () => {
      listen({ heartbeatMs: 5 });
      await untilBeats(2);
      await until('it to hear', async () => {
        await say('system.mutator.control', { action: 'stop', requested_by: 'admin', ts: 1 });
        return told > 0;
      });
      await workers[0]?.stop();
      const count = (await heartbeats()).filter(({ type }) => type === 'health').length;
      await say('system.mutator.control', { action: 'stop' });
      start({ name: 'webhook' });
      await until('the other', async () => (await heartbeats()).some(({ topic }) => topic.includes('webhook')));
      expect((await heartbeats()).filter(({ type }) => type === 'health').length).toBe(count + 1);
      expect(told).toBe(1);
    });

    test('anything else does nothing', async () => {
      listen();
      await until('the tail to hear', async () => {
        await say('system.first', {});
        return heard.includes('system.first');
      });
      await say('system.mutator.control', {});
      await say('system.mutator.control', { action: 'restart' });
      await say('system.mutator.control', { action: ['stop'] });
      await say('system.mutator.health', { action: 'stop' });
      await say('system.webhook.control', { action: 'stop' });
      await say('system.last', {});
      await until('all of it to be heard', () => heard.includes('system.last'));
      expect(heard.filter((topic) => topic === 'system.mutator.control')).toHaveLength(3);
      expect(told).toBe(0);
      await say('system.mutator.control', { action: 'stop' });
      await until('a stop', () => told === 1);
    });

    test('to stop survives work that cannot be stopped, and says so', async () => {
      const lines: string[] = [];
      listen({
        logger: createLog('error', (line) => lines.push(line)),
        stop: async () => {
          throw new Error('stuck');
        },
      });
      await untilBeats(1);
      await until('the complaint', async () => {
        await say('system.mutator.control', { action: 'stop' });
        return lines.some((line) => line.includes('stuck'));
      });
    });
  });
});
