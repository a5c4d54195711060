import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { createHmac } from 'node:crypto';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';
import {
  idsOf,
  type Received,
  type Receiver,
  startReceiver,
  startWebhookPlane,
  type WebhookPlane,
} from '../webhook/plane.ts';
import { openPage, type Page, type PageAnswer, pageOf } from './page.ts';
import { faultsOf, type Shape } from './shape.ts';

setDefaultTimeout(60_000);

/** Contract §7.2, and what this server adds. */
const WEBHOOK: Shape = {
  ...{ uuid: 'text', name: 'text', url: 'text', topic_patterns: 'texts', enabled: 'bool' },
  ...{ consecutive_failures: 'int', last_success_at: 'time?', last_failure_at: 'time?', last_error: 'text?' },
  ...{ auto_disabled_at: 'time?', created_at: 'time', updated_at: 'time', warnings: 'texts' },
  ...{ ordered: 'bool', concurrency: 'int', batch_size: 'int', batch_wait_ms: 'int', template: 'object?' },
  ...{ previous_secret_until: 'time?', breaker: 'object', stats: 'object', missed: 'list', behind: 'object?' },
};

/** What the form sends, whatever was changed in it: a secret only where one was typed. */
interface Form {
  readonly name: string;
  readonly url: string;
  readonly secret?: string;
  readonly simple_events: readonly string[];
  readonly topic_patterns: readonly string[];
  readonly enabled: boolean;
}

describe.each(ENGINES)('the webhooks page on %s', (engine) => {
  let hooks: WebhookPlane;
  let page: Page;
  let receiver: Receiver;
  let names = 0;
  beforeAll(async () => {
    hooks = await startWebhookPlane(engine, {
      DECNET_WEBHOOK_CIRCUIT_THRESHOLD: '3',
      // Nothing comes again by itself while this lasts.
      DECNET_WEBHOOK_RETRY_SECONDS: '3600',
    });
    page = pageOf({ url: hooks.url }, hooks.token);
    receiver = startReceiver();
  });
  afterAll(async () => {
    await hooks.stop();
    await receiver.stop();
  });

  /** After each action the page reads the list again. */
  async function list(): Promise<PageAnswer['body']> {
    const [rows] = await openPage(page, ['/webhooks/']);
    expect(faultsOf({ rows }, { rows: [WEBHOOK] })).toEqual([]);
    return rows;
  }
  const rowOf = async (uuid: string) => (await list()).find((row: { uuid: string }) => row.uuid === uuid);
  const form = (more: Partial<Form> = {}): Form => {
    names += 1;
    return {
      ...{ name: `hook ${names}`, url: receiver.url, simple_events: [], topic_patterns: ['attacker.>'], enabled: true },
      ...more,
    };
  };
  async function create(wanted: Form): Promise<PageAnswer['body']> {
    const { status, body } = await page('POST', '/webhooks/', wanted);
    expect(status).toBe(201);
    return body;
  }
  async function save(uuid: string, wanted: Form): Promise<void> {
    expect((await page('PATCH', `/webhooks/${uuid}`, wanted)).status).toBe(200);
  }
  const fire = async (uuid: string) => (await page('POST', `/webhooks/${uuid}/test`)).body;
  const newest = (): Received => receiver.received.at(-1) ?? { path: '', headers: {}, text: '' };
  const signed = (secret: string, { text }: Received) =>
    `sha256=${createHmac('sha256', secret).update(text).digest('hex')}`;
  const arrived = (ids: readonly string[]) =>
    until('all at the receiver', () => ids.every((id) => receiver.ids().includes(id)));

  test('creates one, shows its secret once, and fires a test that the secret proves', async () => {
    const wanted = form({ simple_events: ['AttackerDetail', 'DeckyStatus'], topic_patterns: ['custom.>'] });
    const made = await create(wanted);
    expect(faultsOf(made, { ...WEBHOOK, secret: 'text' })).toEqual([]);
    expect(made.topic_patterns).toEqual(['attacker.>', 'decky.*.state', 'decky.*.traffic', 'custom.>']);
    expect(made.warnings[0]).toStartWith('insecure_url');
    expect('secret' in (await rowOf(made.uuid))).toBe(false);

    expect(await fire(made.uuid)).toEqual({ delivered: true, status_code: 200, error: null });
    expect(newest().headers['x-decnet-signature']).toBe(signed(made.secret, newest()));
    receiver.answer = () => new Response('', { status: 500 });
    expect(await fire(made.uuid)).toEqual({ delivered: false, status_code: 500, error: 'http 500' });
    receiver.answer = () => new Response('ok');
    expect(await rowOf(made.uuid)).toMatchObject({ consecutive_failures: 0, last_success_at: null, last_error: null });
  });

  test('saves an edit: other events, another secret; what it does not know stays', async () => {
    const wanted = form({ secret: 'the first secret of it' });
    const made = await create(wanted);
    expect(made.secret).toBe('the first secret of it');
    await page('PATCH', `/webhooks/${made.uuid}`, { ordered: true });
    const { secret: _, ...without } = wanted;
    await save(made.uuid, { ...without, simple_events: ['SystemStatus'], topic_patterns: [] });
    expect(await rowOf(made.uuid)).toMatchObject({ topic_patterns: ['system.>'], ordered: true });
    await fire(made.uuid);
    expect(newest().headers['x-decnet-signature']).toBe(signed('the first secret of it', newest()));
    await save(made.uuid, { ...wanted, secret: 'the second secret of it' });
    await fire(made.uuid);
    expect(newest().headers['x-decnet-signature']).toBe(signed('the second secret of it', newest()));
  });

  test('sends nothing while it is disabled, and what comes after it is enabled', async () => {
    const wanted = form({ topic_patterns: ['toggled.>'], url: `${receiver.url}/toggled` });
    const { uuid } = await create({ ...wanted, enabled: false });
    await create(form({ topic_patterns: ['toggled.>'] }));
    // Its own time is over once the other one has it.
    await arrived(await hooks.publish('toggled.off', 1));
    await save(uuid, wanted);
    const ids = await hooks.publish('toggled.on', 1);
    const toIt = () => receiver.received.filter(({ path }) => path.endsWith('/toggled'));
    await until('what came after', () => toIt().length > 0);
    expect(toIt().flatMap(idsOf)).toEqual(ids);
  });

  describe.each<[what: string, edit: (wanted: Form) => Form | Promise<Form>]>([
    ['the same', (wanted) => wanted],
    ['another address', ({ url, ...wanted }) => ({ ...wanted, url: `${url}/mended`, enabled: true })],
    ['another secret', (wanted) => ({ ...wanted, secret: 'what the receiver knows' })],
  ])('after its breaker opened, saving %s', (_, edit) => {
    test('lets it begin anew at once, and what waited is delivered', async () => {
      const wanted = form({ topic_patterns: [`only.${crypto.randomUUID()}`] });
      const { uuid } = await create(wanted);
      receiver.answer = () => new Response('', { status: 503 });
      const ids = await hooks.publish(wanted.topic_patterns[0] ?? '', 3);
      await until('the breaker', async () => (await rowOf(uuid)).breaker.state === 'open');
      const failing = await rowOf(uuid);
      expect(failing).toMatchObject({ enabled: true, auto_disabled_at: null, last_error: 'http 503' });
      expect(failing.consecutive_failures).toBeGreaterThanOrEqual(3);
      receiver.answer = () => new Response('ok');
      // A change of anything else is no reason to try again.
      await page('PATCH', `/webhooks/${uuid}`, { batch_wait_ms: 0 });
      expect((await rowOf(uuid)).breaker.state).toBe('open');

      await save(uuid, await edit(wanted));
      await arrived(ids);
      await until('the good news', async () => (await rowOf(uuid)).last_success_at !== null);
      expect(await rowOf(uuid)).toMatchObject({ consecutive_failures: 0, last_error: null });
    });
  });

  test('tells that a breaker was closed, as it tells that it opened', async () => {
    const observer = startReceiver();
    const wanted = form({ topic_patterns: ['told.>'] });
    const { uuid } = await create(wanted);
    await create(form({ topic_patterns: [`system.webhook.${uuid}.breaker`], url: observer.url }));
    receiver.answer = () => new Response('', { status: 503 });
    await hooks.publish('told.of', 3);
    await until('the breaker', async () => (await rowOf(uuid)).breaker.state === 'open');
    receiver.answer = () => new Response('ok');
    await save(uuid, wanted);
    await until('the news', () => observer.received.length >= 2);
    // They may travel at once.
    const told = observer.received.map(({ text }) => JSON.parse(text).payload.state);
    expect(told.sort()).toEqual(['closed', 'open']);
    await observer.stop();
  });

  test('enables one again that was disabled for good: it is as if it had never failed', async () => {
    const wanted = form({ topic_patterns: ['gone.>'] });
    const { uuid } = await create(wanted);
    receiver.answer = () => new Response('', { status: 410 });
    await hooks.publish('gone.away', 1);
    await until('the end', async () => !(await rowOf(uuid)).enabled);
    expect(faultsOf(await rowOf(uuid), { ...WEBHOOK, auto_disabled_at: 'time', last_error: 'text' })).toEqual([]);
    receiver.answer = () => new Response('ok');
    await save(uuid, wanted);
    expect(await rowOf(uuid)).toMatchObject({
      ...{ enabled: true, auto_disabled_at: null, consecutive_failures: 0, last_error: null },
    });
    await arrived(await hooks.publish('gone.home', 1));
  });

  test('disables one whose host is gone, though the form sends its address along', async () => {
    const wanted = form();
    const { uuid } = await create(wanted);
    const url = 'http://gone.invalid/hook';
    await hooks.plane.database.db.updateTable('webhook_subscriptions').set({ url }).where('uuid', '=', uuid).execute();
    expect(await fire(uuid)).toEqual({ delivered: false, status_code: null, error: expect.stringContaining('gone') });
    await save(uuid, { ...wanted, url, enabled: false });
    expect(await rowOf(uuid)).toMatchObject({ enabled: false, url });
    // One that was not there before is looked at, also where it leads to the same host.
    const { status, body } = await page('PATCH', `/webhooks/${uuid}`, { ...wanted, url: `${url}/other` });
    expect([status, body]).toEqual([422, { detail: expect.stringContaining('did not resolve') }]);
  });

  test('deletes many at once, and says what is wrong in words', async () => {
    const made = await Promise.all(Array.from({ length: 6 }, () => create(form())));
    const deleted = await Promise.all(made.map(({ uuid }) => page('DELETE', `/webhooks/${uuid}`)));
    for (const answer of deleted) expect(answer).toEqual({ status: 200, body: { message: 'Webhook deleted' } });
    const left = (await list()).map(({ uuid }: { uuid: string }) => uuid);
    for (const { uuid } of made) expect(left).not.toContain(uuid);

    const { name } = await create(form());
    const words = { detail: expect.any(String) };
    const gone = `/webhooks/${made[0].uuid}`;
    expect(await page('DELETE', gone)).toEqual({ status: 404, body: words });
    expect(await page('POST', `${gone}/test`)).toEqual({ status: 404, body: words });
    expect(await page('PATCH', gone, form())).toEqual({ status: 404, body: words });
    expect(await page('POST', '/webhooks/', form({ name }))).toEqual({ status: 409, body: words });
    expect(await page('POST', '/webhooks/', form({ topic_patterns: [] }))).toEqual({ status: 400, body: words });
    expect(await page('POST', '/webhooks/', form({ url: 'ftp://127.0.0.1/' }))).toEqual({ status: 422, body: words });
    expect(await page('POST', '/webhooks/', form({ secret: 'short' }))).toEqual({ status: 400, body: words });
    const viewer = pageOf({ url: hooks.url }, await hooks.plane.token(hooks.url, 'viewer'));
    expect(await viewer('GET', '/webhooks/')).toEqual({ status: 403, body: words });
  });
});
