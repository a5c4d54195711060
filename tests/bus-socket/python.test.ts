import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { App } from '../../src/main.ts';
import { storedLog, upTo } from '../bus/support.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';

const CLIENT = join(import.meta.dir, 'client.py');

/** A worker as DECNET has it: Python, and the contract its only guide. */
class PythonWorker {
  readonly #process;
  readonly #stderr: Promise<void>;
  readonly events: { verb: string; topic: string; event: Record<string, unknown> }[] = [];
  isReady = false;
  said = '';

  constructor(...args: string[]) {
    this.#process = Bun.spawn(['python3', CLIENT, ...args], { stdin: 'pipe', stdout: 'pipe', stderr: 'pipe' });
    void this.#readEvents();
    this.#stderr = this.#readErrors();
  }

  publish(events: readonly { topic: string; type: string; payload: unknown }[]): void {
    this.#process.stdin.write(events.map((event) => `${JSON.stringify(event)}\n`).join(''));
  }

  async finish(): Promise<void> {
    await this.#process.stdin.end();
    await this.#process.exited;
    await this.#stderr;
    if (this.#process.exitCode !== 0) throw new Error(`the worker failed: ${this.said}`);
  }

  stop(): void {
    this.#process.kill();
  }

  async #readErrors(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#process.stderr) {
      this.said += decoder.decode(chunk, { stream: true });
      if (this.said.includes('ready')) this.isReady = true;
    }
  }

  async #readEvents(): Promise<void> {
    const decoder = new TextDecoder();
    let rest = '';
    for await (const chunk of this.#process.stdout) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.events.push(JSON.parse(line));
    }
  }
}

describe('workers in Python, over the sockets of two nodes', () => {
  let plane: Plane;
  const nodes: App[] = [];
  let folder: string;
  const workers: PythonWorker[] = [];
  const socket = (index: number) => join(folder, `bus-${index}.sock`);
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'decnet-bus-'));
    plane = await createPlane();
    const group = String(process.getgid?.() ?? 0);
    for (const index of [0, 1]) {
      nodes.push(await plane.node({}, { DECNET_BUS_SOCKET: socket(index), DECNET_BUS_GROUP: group }));
    }
  });
  afterAll(async () => {
    for (const worker of workers) worker.stop();
    await plane.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const worker = (...args: string[]) => {
    const started = new PythonWorker(...args);
    workers.push(started);
    return started;
  };
  const inLog = async (root: string) =>
    (await storedLog(plane.redis.client())).filter(({ topic }) => topic.startsWith(root));
  const numbered = (root: string, numbers: readonly number[]) =>
    numbers.map((n) => ({ topic: `${root}.observed`, type: 'observed', payload: { n, name: 'é\u2028"\\' } }));
  const readyz = async (index: number) => (await fetch(`${nodes[index]?.url}/readyz`)).json();

  test('one publishes, others hear it, all of it in order, on either node', async () => {
    const count = 500;
    const listening = [0, 1].map((index) =>
      worker(socket(index), 'subscribe', String(count), 'attacker.>', '*.observed'),
    );
    await until('both to listen', () => listening.every(({ isReady }) => isReady));
    const publishing = worker(socket(0), 'publish');
    publishing.publish(numbered('attacker', upTo(count)));
    await publishing.finish();
    await Promise.all(listening.map((one) => one.finish()));

    const entries = await inLog('attacker.');
    const envelopes = entries.map(({ id, data }) => ({ v: 1, id, ...JSON.parse(data) }));
    expect(envelopes.map(({ payload }) => payload.n)).toEqual(upTo(count));
    for (const { events } of listening) {
      expect(events).toEqual(envelopes.map((event) => ({ verb: 'EVT', topic: 'attacker.observed', event })));
    }
    expect(await readyz(0)).toMatchObject({ bus_socket: { refused: 0, dropped: 0, violations: 0, lost: 0 } });
  });

  test('none hears itself, also where it comes back through the log', async () => {
    const both = worker(socket(0), 'echo', '3', 'canary.>');
    await until('it to listen', () => both.isReady);
    both.publish([1, 2].map((n) => ({ topic: 'canary.own.placed', type: '', payload: { n } })));
    await until('its own in the log', async () => (await inLog('canary.own')).length === 2);
    const other = worker(socket(1), 'publish');
    other.publish([1, 2, 3].map((n) => ({ topic: 'canary.other.placed', type: '', payload: { n } })));
    await Promise.all([both.finish(), other.finish()]);
    expect(both.events.map(({ topic }) => topic)).toEqual(Array.from({ length: 3 }, () => 'canary.other.placed'));
  });

  test('a restart of redis in the middle loses, repeats and turns round nothing', async () => {
    const [before, during, after] = [upTo(200), upTo(400, 201), upTo(600, 401)];
    const listening = worker(socket(1), 'subscribe', '600', 'identity.*');
    await until('it to listen', () => listening.isReady);
    const publishing = worker(socket(0), 'publish');
    publishing.publish(numbered('identity', before));
    await until('the first ones', async () => (await inLog('identity.')).length > 0);
    const stopping = plane.redis.down();
    publishing.publish(numbered('identity', during));
    await stopping;
    publishing.publish(numbered('identity', after));
    await publishing.finish();
    await plane.redis.up();
    await listening.finish();
    const all = upTo(600);
    expect(listening.events.map(({ event }) => (event.payload as { n: number }).n)).toEqual(all);
    expect((await inLog('identity.')).map(({ data }) => JSON.parse(data).payload.n)).toEqual(all);
  });

  test('its socket keeps a second node away', async () => {
    await expect(plane.node({}, { DECNET_BUS_SOCKET: socket(0) })).rejects.toThrow('another process listens there');
  });
});
