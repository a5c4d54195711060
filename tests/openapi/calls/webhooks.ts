import { newWebhook, newWebhookBody, type World } from '../world.ts';
import { badPage, type Call, type Calls, nothing, only } from './call.ts';

/** Webhooks and their deliveries. */
export const WEBHOOKS: Readonly<Record<string, Calls>> = {
  listWebhooks: async (world) => {
    await newWebhook(world);
    return [{ expect: 200 }, { isWithoutSlash: true, expect: 307 }];
  },
  createWebhook: () => {
    const body = newWebhookBody();
    return [
      { body, expect: 201 },
      { body, expect: 409 },
      { body, isWithoutSlash: true, expect: 307 },
      { body: { ...newWebhookBody(), topic_patterns: [] }, expect: 400 },
      { body: { ...newWebhookBody(), url: 'ftp://192.0.2.1/' }, expect: 422 },
    ];
  },
  getWebhook: onWebhook(({ uuid }) => [{ params: { uuid }, expect: 200 }, nothing]),
  changeWebhook: onWebhook(async ({ uuid }, world) => {
    const { name } = await world.api('GET', `/webhooks/${(await newWebhook(world)).uuid}`);
    return [
      { params: { uuid }, body: { template: { preset: 'slack' } }, expect: 200 },
      { params: { uuid }, body: { name }, expect: 409 },
      { body: { enabled: false }, expect: 404 },
      { params: { uuid }, body: { topic_patterns: [] }, expect: 400 },
      { params: { uuid }, body: { concurrency: 99 }, expect: 422 },
    ];
  }),
  deleteWebhook: onWebhook(({ uuid }) => [
    { params: { uuid }, expect: 200 },
    { params: { uuid }, expect: 404 },
  ]),
  rotateWebhookSecret: onWebhook(({ uuid }) => [
    { params: { uuid }, expect: 200 },
    { params: { uuid }, body: { grace_seconds: 60 }, expect: 200 },
    { params: { uuid }, body: { secret: 'short' }, expect: 400 },
    { params: { uuid }, body: { grace_seconds: -1 }, expect: 422 },
    nothing,
  ]),
  testWebhook: onWebhook(({ uuid }) => [{ params: { uuid }, expect: 200 }, nothing]),
  previewWebhook: onWebhook(({ uuid }) => [
    { params: { uuid }, expect: 200 },
    { params: { uuid }, body: { event_id: 1 }, expect: 400 },
    { params: { uuid }, body: { template: { text: '{{' } }, expect: 422 },
    nothing,
  ]),
  reencryptWebhookSecrets: only(200),
  listWebhookDeliveries: onWebhook(({ uuid }) => [
    { params: { uuid }, query: 'state=dead', expect: 200 },
    { ...badPage, params: { uuid } },
    nothing,
  ]),
  getWebhookDelivery: onWebhook((params) => [
    { params, expect: 200 },
    { params: { ...params, seq: '1.5' }, expect: 422 },
    { params: { ...params, seq: '999999' }, expect: 404 },
  ]),
  redeliverWebhookDeliveries: onWebhook(({ uuid, seq }) => deadLetters(uuid, seq)),
  dropWebhookDeliveries: onWebhook(({ uuid, seq }) => deadLetters(uuid, seq)),
};

function deadLetters(uuid: string, seq: string): Call[] {
  return [
    { params: { uuid }, body: { seqs: [Number(seq)] }, expect: 200 },
    { params: { uuid }, body: { seqs: [] }, expect: 422 },
    { body: { all: true }, expect: 404 },
  ];
}

/** Calls for a webhook that has a dead letter. */
function onWebhook(
  calls: (ids: { uuid: string; seq: string }, world: World) => readonly Call[] | Promise<readonly Call[]>,
): Calls {
  return async (world) => calls(await newWebhook(world), world);
}
