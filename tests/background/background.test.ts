import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { getPriority } from 'node:os';
import { Webhook } from 'standardwebhooks';
import { Background } from '../../src/background/background.ts';
import { hasEnded } from '../../src/bus/redis-orphan.ts';
import { divided, PROCESS_ROLES } from '../../src/roles.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { standardSecret } from '../../src/webhook/signature.ts';
import { call } from '../support/app.ts';
import { ENGINES, quiet } from '../support/database.ts';
import { until } from '../support/until.ts';
import { type Receiver, startReceiver, startWebhookPlane, WEBHOOK_ENV, type WebhookPlane } from '../webhook/plane.ts';

const ROLES = { ROLES: 'api,relay,housekeeper,projector,webhook' };

interface Ready {
  readonly checks: {
    readonly background?: { readonly state: string; readonly pid: number | null; readonly restarts: number };
    readonly projections?: object;
  };
}

const ready = async (url: string): Promise<Ready> => JSON.parse(await (await fetch(`${url}/readyz`)).text());
const pidOf = (url: string) =>
  until('a background process at work', async () => {
    const { background } = (await ready(url)).checks;
    return background?.state === 'running' && background.pid;
  });

test('who does anything else leaves what fills a core to a background process; who does nothing else does it', () => {
  const all = divided(new Set(PROCESS_ROLES));
  expect([...all.background]).toEqual(['projector', 'webhook']);
  expect([...all.own, ...all.background].sort()).toEqual([...PROCESS_ROLES].sort());
  expect([...divided(new Set(['api', 'relay'])).background]).toEqual([]);
  expect([...divided(new Set(['projector', 'relay'])).background]).toEqual(['projector']);
  expect([...divided(new Set(['projector', 'webhook'])).background]).toEqual([]);
});

describe.each(ENGINES)('a background process on %s', (engine) => {
  let hooks: WebhookPlane;
  let receiver: Receiver;
  beforeEach(async () => {
    hooks = await startWebhookPlane(engine, ROLES, { background: true });
    receiver = startReceiver();
  });
  afterEach(async () => {
    await hooks.stop();
    await receiver.stop();
  });

  const counted = async () => {
    const response = await call(hooks.url, hooks.token, 'GET', '/attackers?limit=1');
    return Number(JSON.parse(await response.text()).total);
  };
  const attackers = (from: number, count: number) =>
    Promise.all(
      Array.from({ length: count }, (_, n) =>
        hooks.publish('attacker.observed', 1, { attacker_ip: `198.51.100.${from + n}`, uuid: crypto.randomUUID() }),
      ),
    ).then((ids) => ids.flat());

  test('writes rows and delivers webhooks, signed with the keys of its parent', async () => {
    const { secret } = await hooks.subscribe(receiver);
    const ids = await attackers(1, 5);
    await until('all deliveries', () => ids.every((id) => receiver.ids().includes(id)));
    for (const { text, headers } of receiver.received) new Webhook(standardSecret(secret)).verify(text, headers);
    await until('all rows', async () => (await counted()) === 5);
  });

  test('is started again when it was killed, and goes on where it was: nothing is lost and nothing counted twice', async () => {
    await hooks.subscribe(receiver);
    const before = await attackers(1, 3);
    const first = await pidOf(hooks.url);
    process.kill(first, 'SIGKILL');
    const after = await attackers(11, 3);
    const second = await until('another one', async () => {
      const pid = await pidOf(hooks.url);
      return pid !== first && pid;
    });
    expect(hasEnded(second)).toBe(false);
    await until('all deliveries', () => [...before, ...after].every((id) => receiver.ids().includes(id)));
    await until('all rows', async () => (await counted()) >= 6);
    expect(await counted()).toBe(6);
  });
});

describe('a background process', () => {
  test('comes after who serves people, and is told to end by them', async () => {
    const hooks = await startWebhookPlane('sqlite', ROLES, { background: true });
    const pid = await pidOf(hooks.url);
    expect(getPriority(pid)).toBeGreaterThan(getPriority());
    await hooks.stop();
    expect(hasEnded(pid)).toBe(true);
  });

  test('ends with a parent that was killed', async () => {
    const hooks = await startWebhookPlane('sqlite', { ROLES: 'api' });
    try {
      const node = await hooks.plane.child({ ...WEBHOOK_ENV, ...ROLES });
      const pid = await pidOf(node.url);
      await node.kill();
      await until('its end', () => hasEnded(pid));
    } finally {
      await hooks.stop();
    }
  });

  test('that cannot even be started is tried again, and its parent goes on', async () => {
    const hooks = await startWebhookPlane('sqlite');
    const lines: string[] = [];
    const logger = createLog('error', (line) => lines.push(line));
    const background = new Background(hooks.plane.config, logger, { command: ['/nowhere/at-all'] });
    background.start();
    try {
      await until('another try', () => Number(background.check().restarts) >= 2);
      expect(background.check()).toMatchObject({ ok: true, pid: null });
      expect(lines.join()).toContain('/nowhere/at-all');
    } finally {
      await background.stop();
      await hooks.stop();
    }
  });

  test('that does nothing any more is killed and another one started', async () => {
    const hooks = await startWebhookPlane('sqlite');
    const { config, redis } = hooks.plane;
    const own = { ...config, roles: new Set(['projector'] as const), bus: { ...config.bus, redisUrl: redis.url } };
    const background = new Background(own, quiet, { pingMs: 20, silentMs: 2000 });
    background.start();
    const running = () => background.check().state === 'running' && Number(background.check().pid);
    try {
      const pid = await until('it to run', running);
      process.kill(pid, 'SIGSTOP');
      await until('another one', () => running() !== pid && running());
      expect(hasEnded(pid)).toBe(true);
      expect(background.check()).toMatchObject({ ok: true });
    } finally {
      await background.stop();
      await hooks.stop();
    }
    expect(background.check()).toMatchObject({ state: 'ended', pid: null });
  });
});
