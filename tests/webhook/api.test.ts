import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { call } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import { type Receiver, startReceiver, startWebhookPlane, type WebhookPlane } from './plane.ts';

/** What the API says, as far as tests take it apart. */
interface Shown {
  readonly uuid: string;
  readonly secret?: string;
  readonly updated_at: string;
  readonly body: unknown;
}

const STRUCTURAL = 'Bad Request: Schema structural violation (wrong type, extra fields, or invalid length).';
const INVALID = 'Invalid request parameters';

describe.each(ENGINES)('webhooks over the API on %s', (engine) => {
  let hooks: WebhookPlane;
  let receiver: Receiver;
  beforeAll(async () => {
    hooks = await startWebhookPlane(engine);
    receiver = startReceiver();
  });
  afterAll(async () => {
    await hooks.stop();
    await receiver.stop();
  });

  const wanted = (more: object = {}) => ({
    name: crypto.randomUUID(),
    url: receiver.url,
    topic_patterns: ['a.>'],
    ...more,
  });
  const answerOf = async (response: Response) => {
    const body: Shown = JSON.parse(await response.text());
    return { status: response.status, body };
  };

  test('a webhook is created with its secret shown this once, listed, changed and deleted', async () => {
    const made = await answerOf(
      await hooks.call(
        'POST',
        '/webhooks/',
        wanted({ name: 'siem', simple_events: ['DeckyStatus'], topic_patterns: ['a.>', '', 'a.>', 'decky.*.state'] }),
      ),
    );
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({
      name: 'siem',
      topic_patterns: ['decky.*.state', 'decky.*.traffic', 'a.>'],
      enabled: true,
      consecutive_failures: 0,
      last_success_at: null,
      auto_disabled_at: null,
      warnings: [expect.stringContaining('insecure_url:')],
    });
    expect(made.body.secret).toHaveLength(43);
    const { uuid } = made.body;
    const shown = await answerOf(await hooks.call('GET', `/webhooks/${uuid}`));
    expect(shown.status).toBe(200);
    expect('secret' in shown.body).toBe(false);
    const list = await (await hooks.call('GET', '/webhooks/')).text();
    expect(JSON.parse(list)).toContainEqual(expect.objectContaining({ uuid }));
    const changed = await answerOf(
      await hooks.call('PATCH', `/webhooks/${uuid}`, { enabled: false, topic_patterns: ['b.*'] }),
    );
    expect(changed.body).toMatchObject({ enabled: false, topic_patterns: ['b.*'] });
    expect<unknown>(await answerOf(await hooks.call('DELETE', `/webhooks/${uuid}`))).toEqual({
      status: 200,
      body: { message: 'Webhook deleted' },
    });
    expect<unknown>(await answerOf(await hooks.call('GET', `/webhooks/${uuid}`))).toEqual({
      status: 404,
      body: { detail: 'Webhook not found' },
    });
  });

  test('a change of nothing changes nothing', async () => {
    const { uuid } = await hooks.subscribe(receiver);
    const before = (await answerOf(await hooks.call('GET', `/webhooks/${uuid}`))).body;
    for (const nothing of [{}, { name: null, url: null, enabled: null }]) {
      expect((await answerOf(await hooks.call('PATCH', `/webhooks/${uuid}`, nothing))).body.updated_at).toBe(
        before.updated_at,
      );
    }
  });

  test.each([
    ['no name', { name: undefined }, 400, STRUCTURAL],
    ['an empty name', { name: '' }, 400, STRUCTURAL],
    ['a short secret', { secret: 'too short' }, 400, STRUCTURAL],
    ['a pattern that is no text', { topic_patterns: [1] }, 400, STRUCTURAL],
    ['a long name', { name: 'n'.repeat(65) }, 422, INVALID],
    [
      'another scheme',
      { url: 'ftp://93.184.216.34/' },
      422,
      "webhook URL scheme 'ftp' is not allowed (use http/https)",
    ],
    ['no URL', { url: 'nonsense' }, 422, expect.stringContaining('cannot be read')],
    ['a user in the URL', { url: 'http://a:b@127.0.0.1/' }, 422, expect.stringContaining('user or password')],
    ['an unknown simple event', { simple_events: ['Everything'] }, 422, INVALID],
    ['an invalid pattern', { topic_patterns: ['a.>.b'] }, 422, expect.stringContaining('only as its last token')],
    ['a pattern of two words', { topic_patterns: ['a b'] }, 422, expect.any(String)],
    [
      'no pattern at all',
      { topic_patterns: [], simple_events: [] },
      400,
      'Provide at least one simple_events entry or topic_patterns pattern.',
    ],
    [
      'a template that cannot be read',
      { template: { text: '{"a":\n {{ event..id }}}' } },
      422,
      expect.stringMatching(/^template, line 2, column \d+: /),
    ],
    [
      'a template that writes no JSON',
      { template: { text: 'hello' } },
      422,
      expect.stringContaining('does not write JSON'),
    ],
    ['too much at once', { concurrency: 33 }, 422, INVALID],
  ])('refuses %s', async (_, more, status, detail) => {
    expect<unknown>(await answerOf(await hooks.call('POST', '/webhooks/', wanted(more)))).toEqual({
      status,
      body: { detail },
    });
  });

  test('refuses a name that is taken, at creation and at a change, however many ask at once', async () => {
    const asked = await Promise.all(
      Array.from({ length: 5 }, () => hooks.call('POST', '/webhooks/', wanted({ name: 'one name' }))),
    );
    expect(asked.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409, 409]);
    const { uuid } = await hooks.subscribe(receiver);
    const taken = await answerOf(await hooks.call('PATCH', `/webhooks/${uuid}`, { name: 'one name' }));
    expect<unknown>(taken).toEqual({ status: 409, body: { detail: 'Webhook name already exists' } });
    const cleared = await answerOf(await hooks.call('PATCH', `/webhooks/${uuid}`, { topic_patterns: [] }));
    expect<unknown>(cleared).toEqual({
      status: 400,
      body: { detail: 'Cannot clear all patterns; disable the webhook instead.' },
    });
  });

  test('is for admins', async () => {
    const viewer = await hooks.plane.token(hooks.url, 'viewer');
    expect((await call(hooks.url, viewer, 'GET', '/webhooks/')).status).toBe(403);
    expect((await fetch(`${hooks.url}/api/v1/webhooks/`)).status).toBe(401);
    expect((await call(hooks.url, viewer, 'POST', '/webhooks/', wanted())).status).toBe(403);
  });

  test('leads to the path with a slash', async () => {
    const response = await fetch(`${hooks.url}/api/v1/webhooks`, {
      redirect: 'manual',
      headers: { authorization: `Bearer ${hooks.token}` },
    });
    expect([response.status, response.headers.get('location')]).toEqual([307, '/api/v1/webhooks/']);
  });

  test('sends a test that counts for nothing', async () => {
    const { uuid } = await hooks.subscribe(receiver);
    expect<unknown>(await answerOf(await hooks.call('POST', `/webhooks/${uuid}/test`))).toEqual({
      status: 200,
      body: { delivered: true, status_code: 200, error: null },
    });
    expect(JSON.parse(receiver.received.at(-1)?.text ?? '')).toMatchObject({
      topic: 'test.ping',
      type: 'test',
      v: 1,
      payload: { message: 'Synthetic test event from DECNET', triggered_by: 'admin-user' },
    });
    receiver.answer = () => new Response('no', { status: 404 });
    expect<unknown>((await answerOf(await hooks.call('POST', `/webhooks/${uuid}/test`))).body).toEqual({
      delivered: false,
      status_code: 404,
      error: 'non-retryable 404',
    });
    receiver.answer = () => new Response('ok');
    expect(await hooks.look(uuid)).toMatchObject({ consecutive_failures: 0, stats: { delivered: 0, attempts: 0 } });
  });

  test('previews what would be sent', async () => {
    const { uuid } = await hooks.subscribe(receiver, { template: { preset: 'slack' } });
    const preset = await answerOf(await hooks.call('POST', `/webhooks/${uuid}/preview`, {}));
    expect(preset.body).toMatchObject({ topic: 'attacker.observed', body: { text: 'DECNET: attacker.observed' } });
    const own = await answerOf(
      await hooks.call('POST', `/webhooks/${uuid}/preview`, { template: { text: '{"t": {{ event.topic }}}' } }),
    );
    expect(own.body.body).toEqual({ t: 'attacker.observed' });
    const bad = await answerOf(await hooks.call('POST', `/webhooks/${uuid}/preview`, { template: { text: '{{' } }));
    expect(bad.status).toBe(422);
    const gone = await answerOf(await hooks.call('POST', `/webhooks/${uuid}/preview`, { event_id: 'nobody' }));
    expect(gone.status).toBe(404);
  });

  test('keeps secrets out of the database and of every answer but the first', async () => {
    const secret = 'very secret words of an operator';
    const { uuid } = await hooks.subscribe(receiver, { secret });
    const rows = await hooks.plane.database.db.selectFrom('webhook_subscriptions').selectAll().execute();
    expect(JSON.stringify(rows)).not.toContain(secret);
    for (const path of [`/webhooks/${uuid}`, '/webhooks/']) {
      expect(await (await hooks.call('GET', path)).text()).not.toContain(secret);
    }
  });
});
