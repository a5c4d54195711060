import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { Webhook } from 'standardwebhooks';
import { standardSecret } from '../../src/webhook/signature.ts';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';
import { idsOf, type Receiver, startReceiver, startWebhookPlane, type WebhookPlane } from './plane.ts';

describe.each(ENGINES)('deliveries on %s', (engine) => {
  let hooks: WebhookPlane;
  let receiver: Receiver;
  const receivers: Receiver[] = [];
  const another = () => {
    const made = startReceiver();
    receivers.push(made);
    return made;
  };
  beforeEach(async () => {
    hooks = await startWebhookPlane(engine, { DECNET_WEBHOOK_CIRCUIT_THRESHOLD: '3' });
    receiver = another();
  });
  afterEach(async () => {
    await hooks.stop();
    await Promise.all(receivers.splice(0).map((one) => one.stop()));
  });

  const arrived = (at: Receiver, ids: readonly string[]) =>
    until('all events at the receiver', () => ids.every((id) => at.ids().includes(id)));

  test('every matching event arrives, once, signed, and no other', async () => {
    const { uuid, secret } = await hooks.subscribe(receiver, { topic_patterns: ['attacker.>', 'attacker.scored'] });
    const ids = await hooks.publish('attacker.scored', 20);
    await hooks.publish('decky.a.state', 3);
    const last = await hooks.publish('attacker.observed', 1);
    await arrived(receiver, [...ids, ...last]);
    await until('everything recorded', async () => (await hooks.look(uuid)).stats.delivered === 21);
    expect(receiver.ids().sort()).toEqual([...ids, ...last].sort());
    for (const { headers, text } of receiver.received) {
      const [id = ''] = idsOf({ text });
      expect(headers).toMatchObject({
        'content-type': 'application/json',
        'user-agent': 'decnet-webhook/1.0',
        'x-decnet-event-id': id,
        'x-decnet-event-topic': JSON.parse(text).topic,
        'webhook-id': id,
      });
      new Webhook(standardSecret(secret)).verify(text, headers);
    }
  });

  test('what fails for a while is tried again under the same id, with one signature of the body', async () => {
    let refusals = 2;
    receiver.answer = () => {
      refusals -= 1;
      return new Response('later', { status: refusals >= 0 ? 503 : 200 });
    };
    const { uuid } = await hooks.subscribe(receiver);
    const [id = ''] = await hooks.publish('attacker.scored', 1);
    await until('the delivery', async () => (await hooks.look(uuid)).stats.delivered === 1);
    expect(receiver.ids()).toEqual([id, id, id]);
    const of = (name: string) => new Set(receiver.received.map(({ headers }) => headers[name]));
    for (const name of ['webhook-id', 'x-decnet-signature', 'x-decnet-timestamp']) expect(of(name).size).toBe(1);
    const { failures } = (await (await hooks.call('GET', `/webhooks/${uuid}/deliveries/1`)).json()) as {
      failures: object[];
    };
    expect(failures).toEqual([
      expect.objectContaining({ number: 1, status: 503, error: 'http 503', response_excerpt: 'later' }),
      expect.objectContaining({ number: 2, status: 503, error: 'http 503', response_excerpt: 'later' }),
    ]);
  });

  test('what is refused for good becomes a dead letter, and is delivered after all when an operator says so', async () => {
    receiver.answer = () => new Response('who are you', { status: 403 });
    const { uuid } = await hooks.subscribe(receiver);
    const ids = await hooks.publish('attacker.scored', 2);
    await until('dead letters', async () => (await hooks.look(uuid)).stats.dead === 2);
    expect(receiver.ids().sort()).toEqual([...ids].sort());
    receiver.answer = () => new Response('ok');
    const dropped = await hooks.call('POST', `/webhooks/${uuid}/deliveries/drop`, { seqs: [1] });
    expect(await dropped.json()).toEqual({ dropped: 1 });
    const again = await hooks.call('POST', `/webhooks/${uuid}/deliveries/redeliver`, { all: true });
    expect(await again.json()).toEqual({ redelivered: 1 });
    await until('the delivery', async () => (await hooks.look(uuid)).stats.delivered === 1);
    expect(await hooks.look(uuid)).toMatchObject({ stats: { dead: 0, pending: 0 } });
  });

  test('attempts end with the schedule, as a dead letter', async () => {
    receiver.answer = () => new Response('no', { status: 500 });
    const patient = await startWebhookPlane(engine, { DECNET_WEBHOOK_CIRCUIT_THRESHOLD: '1000' });
    try {
      const { uuid } = await patient.subscribe(receiver);
      await patient.publish('attacker.scored', 1);
      await until('the dead letter', async () => (await patient.look(uuid)).stats.dead === 1);
      expect(receiver.received).toHaveLength(4);
      expect(await patient.look(uuid)).toMatchObject({ enabled: true, last_error: 'http 500', stats: { attempts: 4 } });
    } finally {
      await patient.stop();
    }
  });

  test('a receiver that fails too often is left in peace, and what waits for it is not lost', async () => {
    receiver.answer = () => new Response('no', { status: 500 });
    const { uuid } = await hooks.subscribe(receiver, { concurrency: 1 });
    const ids = await hooks.publish('attacker.scored', 5);
    await until('the breaker', async () => (await hooks.look(uuid)).breaker.state === 'open');
    expect(receiver.received).toHaveLength(3);
    receiver.answer = () => new Response('ok');
    // What comes while it is disabled is not for it.
    await until('all dispatched', async () => (await hooks.look(uuid)).stats.pending === 5);
    // What the pause is for: here an operator ends it.
    await hooks.call('PATCH', `/webhooks/${uuid}`, { enabled: false });
    await hooks.call('PATCH', `/webhooks/${uuid}`, { enabled: true });
    await arrived(receiver, ids);
    expect((await hooks.look(uuid)).breaker.state).toBe('closed');
  });

  test('a receiver that is gone for good is disabled, and what waited for it is kept as dead letters', async () => {
    receiver.answer = () => new Response('gone', { status: 410 });
    const { uuid } = await hooks.subscribe(receiver, { ordered: true });
    await hooks.publish('attacker.scored', 3);
    const shown = await until('the end', async () => {
      const look = await hooks.look(uuid);
      return look.enabled ? undefined : look;
    });
    expect(shown).toMatchObject({
      enabled: false,
      auto_disabled_at: expect.any(String),
      last_error: 'non-retryable 410',
    });
    expect(receiver.received).toHaveLength(1);
  });

  test('in order where that is asked for, also past failures', async () => {
    const refused = new Set<string>();
    receiver.answer = ({ text }) => {
      const [id = ''] = idsOf({ text });
      const isFirst = !refused.has(id);
      refused.add(id);
      return new Response('', { status: isFirst && refused.size % 3 === 0 ? 503 : 200 });
    };
    const { uuid } = await hooks.subscribe(receiver, { ordered: true, concurrency: 8 });
    const ids = await hooks.publish('attacker.scored', 30);
    await until('all', async () => (await hooks.look(uuid)).stats.delivered === 30);
    expect([...new Set(receiver.ids())]).toEqual(ids);
  });

  test('several events travel in one signed request, and again together', async () => {
    let isFirst = true;
    receiver.answer = () => {
      const status = isFirst ? 503 : 200;
      isFirst = false;
      return new Response('', { status });
    };
    const { uuid, secret } = await hooks.subscribe(receiver, { batch_size: 10, batch_wait_ms: 60_000, ordered: true });
    const ids = await hooks.publish('attacker.scored', 20);
    await until('all', async () => (await hooks.look(uuid)).stats.delivered === 20);
    expect(receiver.received.map(idsOf)).toEqual([ids.slice(0, 10), ids.slice(0, 10), ids.slice(10)]);
    const [first, second, third] = receiver.received.map(({ headers }) => headers['webhook-id']);
    expect([first === second, second === third]).toEqual([true, false]);
    for (const { headers, text } of receiver.received) new Webhook(standardSecret(secret)).verify(text, headers);
  });

  test('a batch that does not fill is sent after its time', async () => {
    const { uuid } = await hooks.subscribe(receiver, { batch_size: 10, batch_wait_ms: 100 });
    const ids = await hooks.publish('attacker.scored', 3);
    await until('all', async () => (await hooks.look(uuid)).stats.delivered === 3);
    expect(receiver.ids().sort()).toEqual([...ids].sort());
    expect(Array.isArray(JSON.parse(receiver.received[0]?.text ?? ''))).toBe(true);
  });

  test('a receiver that hangs delays nobody else', async () => {
    const hanging = Promise.withResolvers<void>();
    const slow = another();
    slow.answer = async () => {
      await hanging.promise;
      return new Response('late');
    };
    await hooks.subscribe(slow, { concurrency: 32 });
    const { uuid } = await hooks.subscribe(receiver);
    const ids = await hooks.publish('attacker.scored', 50);
    await arrived(receiver, ids);
    hanging.resolve();
    await until('recorded', async () => (await hooks.look(uuid)).stats.delivered === 50);
    await arrived(slow, ids);
  });

  test('with a template, what it writes is what is signed', async () => {
    const { secret } = await hooks.subscribe(receiver, {
      template: { text: '{"who": {{ event.payload.attacker_ip }}}' },
    });
    await hooks.publish('attacker.scored', 1, { attacker_ip: '203.0.113.7"}' });
    const { headers, text } = await until('it', () => receiver.received[0]);
    expect(JSON.parse(text)).toEqual({ who: '203.0.113.7"}' });
    new Webhook(standardSecret(secret)).verify(text, headers);
  });

  test('a rotated secret and the one before both verify while the grace lasts', async () => {
    const { uuid, secret } = await hooks.subscribe(receiver);
    const rotated = (await (
      await hooks.call('POST', `/webhooks/${uuid}/rotate-secret`, { grace_seconds: 3600 })
    ).json()) as { secret: string };
    await hooks.publish('attacker.scored', 1);
    const { headers, text } = await until('it', () => receiver.received[0]);
    for (const valid of [rotated.secret, secret]) new Webhook(standardSecret(valid)).verify(text, headers);
    const ended = (await (
      await hooks.call('POST', `/webhooks/${uuid}/rotate-secret`, { grace_seconds: 0 })
    ).json()) as { secret: string };
    await hooks.publish('attacker.scored', 1);
    const later = await until('the next', () => receiver.received[1]);
    new Webhook(standardSecret(ended.secret)).verify(later.text, later.headers);
    expect(() => new Webhook(standardSecret(rotated.secret)).verify(later.text, later.headers)).toThrow();
  });

  test('a change takes effect between two events: none is missed, none comes twice', async () => {
    const { uuid } = await hooks.subscribe(receiver, { topic_patterns: ['attacker.>'] });
    const ids: string[] = [];
    for (let round = 0; round < 10; round += 1) {
      const [published] = await Promise.all([
        hooks.publish('attacker.scored', 5),
        hooks.call('PATCH', `/webhooks/${uuid}`, {
          topic_patterns: round % 2 === 0 ? ['attacker.scored'] : ['attacker.>'],
          concurrency: 1 + round,
        }),
      ]);
      ids.push(...published);
    }
    await until('all', async () => (await hooks.look(uuid)).stats.delivered === 50);
    expect(receiver.ids().sort()).toEqual(ids.sort());
  });
});
