import { afterEach, describe, expect, test } from 'bun:test';
import { keys } from '../../src/bus/keys.ts';
import type { App } from '../../src/main.ts';
import { Clients, publish } from '../integration/support.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import type { ReceivedFrame, SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';

const LIMIT_MS = 60_000;
const ROLES = { ROLES: 'api,relay,housekeeper,projector' };
const LATE_ROLES = { ROLES: 'api,relay,housekeeper' };

const clients = new Clients();
let plane: Plane;
let node: App;
let token: string;
afterEach(async () => {
  clients.close();
  await plane.stop();
});

async function start(engine: (typeof ENGINES)[number], roles = ROLES): Promise<void> {
  plane = await createPlane(engine);
  node = await plane.node({}, roles);
  token = await plane.token(node.url);
}

const open = (path: string, lastId?: string): Promise<SseClient> =>
  clients.open(node, path, lastId === undefined ? { token } : { token, lastId });

const dataOf = (frame: ReceivedFrame | undefined) => JSON.parse(frame?.data ?? '');
const namesOf = (frames: readonly ReceivedFrame[]) =>
  frames.map(({ event }) => event).filter((name) => name !== 'position');

/** The projection has looked at all that was published. */
const caughtUp = (name: string) =>
  until('the projection to catch up', async () => {
    const response = await fetch(`${node.url}/readyz`);
    const body = JSON.parse(await response.text());
    return body.checks.projections[name].events === 0;
  });

/** What a stream says about something that exists. */
interface Case {
  readonly path: string;
  readonly projection: string;
  /** Two events of the stream. */
  readonly first: [topic: string, payload: object];
  readonly second: [topic: string, payload: object];
  readonly name: string;
  /** How many things the data of the snapshot shows. */
  count(data: Record<string, unknown[]>): number;
}

const IP = '192.0.2.1';
const CASES: readonly Case[] = [
  {
    path: '/campaigns/events',
    projection: 'campaigns',
    first: ['campaign.formed', { campaign_uuid: 'c1', identity_uuids: ['i1'] }],
    second: ['campaign.formed', { campaign_uuid: 'c2', identity_uuids: ['i2'] }],
    name: 'formed',
    count: ({ campaigns }) => campaigns?.length ?? 0,
  },
  {
    path: '/identities/events',
    projection: 'identities',
    first: ['identity.formed', { identity_uuid: 'i1', observation_uuids: ['a1'] }],
    second: ['identity.formed', { identity_uuid: 'i2', observation_uuids: ['a2'] }],
    name: 'formed',
    count: ({ identities }) => identities?.length ?? 0,
  },
  {
    path: '/orchestrator/events/stream',
    projection: 'orchestrator',
    first: ['orchestrator.traffic.web-1', { action: 'exec:id', success: true }],
    second: ['orchestrator.traffic.web-1', { action: 'exec:ls', success: false }],
    name: 'traffic',
    count: ({ events }) => events?.length ?? 0,
  },
  {
    path: '/attackers/a1/events',
    projection: 'attackers',
    first: [
      'attacker.observation.motor',
      { attacker_uuid: 'a1', attacker_ip: IP, primitive: 'motor', value: 1, ts: 1 },
    ],
    second: ['attacker.observation.pace', { attacker_uuid: 'a1', attacker_ip: IP, primitive: 'pace', value: 2, ts: 2 }],
    name: 'observation',
    count: ({ observations }) => observations?.length ?? 0,
  },
];

for (const engine of ENGINES) {
  describe(`streams of read models (${engine})`, () => {
    test.each(CASES)(
      '$path: a snapshot that contains what came before, then the rest, once; resumed without either again',
      async ({ path, projection, first, second, name, count }) => {
        await start(engine);
        await publish(node, token, ...first);
        await caughtUp(projection);
        const client = await open(path);
        await client.untilFrames(1);
        expect(client.frames[0]?.event).toBe('snapshot');
        expect(count(dataOf(client.frames[0]))).toBe(1);
        await publish(node, token, ...second);
        await until('the event', () => namesOf(client.frames).includes(name));
        expect(namesOf(client.frames)).toEqual(['snapshot', name]);
        expect(dataOf(client.frames[1]).payload).toEqual(second[1]);
        client.close();

        const returned = await open(path, client.frames[0]?.id);
        await until('what was missed', () => namesOf(returned.frames).length === 2);
        expect(namesOf(returned.frames)).toEqual(['resumed', name]);
        const again = await open(path, client.lastId);
        await again.untilFrames(1);
        expect(namesOf(again.frames)).toEqual(['resumed']);
      },
      LIMIT_MS,
    );

    test(
      'rows that are behind the log: what they do not contain yet comes as events',
      async () => {
        await start(engine);
        await publish(node, token, 'campaign.formed', { campaign_uuid: 'c1', identity_uuids: [] });
        await caughtUp('campaigns');
        await node.stop();
        // From here on nobody projects.
        node = await plane.node({}, LATE_ROLES);
        await publish(node, token, 'campaign.formed', { campaign_uuid: 'c2', identity_uuids: [] });
        await publish(node, token, 'campaign.merged', { winner_uuid: 'c1', loser_uuid: 'c2' });
        const client = await open('/campaigns/events');
        await until('all events', () => namesOf(client.frames).length === 3);
        expect(namesOf(client.frames)).toEqual(['snapshot', 'formed', 'merged']);
        expect(dataOf(client.frames[0]).campaigns).toHaveLength(1);
        client.close();
        const fresh = await open('/orchestrator/events/stream');
        await fresh.untilFrames(1);
        expect(dataOf(fresh.frames[0])).toEqual({ events: [] });
      },
      LIMIT_MS,
    );

    // A storm found it: campaigns that were in the log and in the rows, and that a client was never told of.
    test(
      'rows that are behind a channel which has lost its events: no stream opens behind what becomes rows later',
      async () => {
        await start(engine);
        const campaign = (campaign_uuid: string) =>
          publish(node, token, 'campaign.formed', { campaign_uuid, identity_uuids: [] });
        await publish(node, token, 'system.log', { decky: 'web-1', raw_line: 'other' });
        await caughtUp('campaigns');
        await node.stop();
        node = await plane.node({}, LATE_ROLES);
        await campaign('c1');
        await plane.redis.client().del(keys.stream('campaign'));
        await campaign('c2');
        const refused = await open('/campaigns/events');
        expect(refused.status).toBe(503);
        node = await plane.node({}, ROLES);
        const client = await until('the stream', async () => {
          const opened = await open('/campaigns/events');
          return opened.status === 200 ? opened : undefined;
        });
        await client.untilFrames(1);
        expect(
          dataOf(client.frames[0])
            .campaigns.map(({ uuid }: { uuid: string }) => uuid)
            .sort(),
        ).toEqual(['c1', 'c2']);
      },
      LIMIT_MS,
    );

    test(
      'rows that are as far as the log open a stream, also where all is gone that the channel ever had',
      async () => {
        await start(engine);
        await publish(node, token, 'campaign.formed', { campaign_uuid: 'c1', identity_uuids: [] });
        await caughtUp('campaigns');
        await plane.redis.client().del(keys.stream('campaign'));
        // As after a log that was replaced and holds no event of the channel.
        await plane.database.db.deleteFrom('projection_places').where('projection', '=', 'campaigns').execute();
        const client = await until('the stream', async () => {
          const opened = await open('/campaigns/events');
          return opened.status === 200 ? opened : undefined;
        });
        await client.untilFrames(1);
        expect(dataOf(client.frames[0]).campaigns).toHaveLength(1);
        await publish(node, token, 'campaign.formed', { campaign_uuid: 'c2', identity_uuids: [] });
        await until('the event', () => namesOf(client.frames).length === 2);
        expect(dataOf(client.frames[1]).payload.campaign_uuid).toBe('c2');
      },
      LIMIT_MS,
    );

    test(
      'an attacker that nobody has seen is none; events of others are not told',
      async () => {
        await start(engine);
        const unknown = await call(node.url, token, 'GET', '/attackers/a1/events');
        expect(unknown.status).toBe(404);
        await publish(node, token, 'attacker.scored', { attacker_ip: '192.0.2.1', attacker_uuid: 'a1' });
        await publish(node, token, 'identity.formed', { identity_uuid: 'i1', observation_uuids: ['a1'] });
        await caughtUp('attackers');
        const client = await open('/attackers/a1/events');
        await client.untilFrames(1);
        await publish(node, token, 'attacker.scored', { attacker_ip: '192.0.2.9', event_count: 1 });
        await publish(node, token, 'attribution.profile.state_changed', { identity_uuid: 'i2' });
        await publish(node, token, 'attacker.scored', { attacker_ip: '192.0.2.1', event_count: 2 });
        await publish(node, token, 'attribution.profile.state_changed', { identity_uuid: 'i1' });
        await until('both events', () => namesOf(client.frames).length === 3);
        expect(namesOf(client.frames)).toEqual(['snapshot', 'attacker.scored', 'attribution.state_changed']);
        expect(dataOf(client.frames[1]).payload.event_count).toBe(2);
      },
      LIMIT_MS,
    );

    test(
      '/stream: statistics first, then lines under the ids of their rows; resumed after the last line',
      async () => {
        await start(engine);
        const line = (n: number, service = 'ssh') =>
          publish(node, token, 'system.log', {
            decky: 'web-1',
            service,
            event_type: 'login',
            attacker_ip: '192.0.2.1',
            raw_line: `line ${n}`,
          });
        await line(1);
        await caughtUp('logs');
        const client = await open('/stream');
        await client.untilFrames(1);
        expect(client.frames[0]).toMatchObject({ event: 'message' });
        const stats = { total_logs: 1, unique_attackers: 1, active_deckies: 0, deployed_deckies: 0 };
        expect(dataOf(client.frames[0])).toEqual({ type: 'stats', data: stats });
        const filtered = await open('/stream?search=service%3Ahttp');
        await line(2);
        await line(3, 'http');
        const linesOf = ({ frames }: SseClient) =>
          frames.flatMap((frame) => (dataOf(frame).type === 'logs' ? dataOf(frame).data : []));
        await until('both lines', () => linesOf(client).length === 2);
        await until('the line that is asked for', () => linesOf(filtered).length === 1);
        expect(linesOf(filtered)).toMatchObject([{ raw_line: 'line 3', service: 'http' }]);
        await caughtUp('logs');
        const page = JSON.parse(await (await call(node.url, token, 'GET', '/logs')).text());
        expect(page.total).toBe(3);
        expect(page.data.slice(0, 2)).toEqual(linesOf(client).toReversed());

        const [, second] = page.data;
        client.close();
        await line(4);
        const returned = await open('/stream', client.lastId);
        await until('the missed line', () => linesOf(returned).length === 1);
        expect(linesOf(returned)).toMatchObject([{ raw_line: 'line 4' }]);
        expect(namesOf(returned.frames)).toContain('resumed');
        expect(returned.frames.some((frame) => dataOf(frame).type === 'stats')).toBe(true);

        await caughtUp('logs');
        // DECNET's own id of a line is no cursor: what came after it opens the stream.
        const asked = await open(`/stream?lastEventId=${second.id}`);
        await asked.untilFrames(1);
        expect(linesOf(asked).map(({ raw_line }: { raw_line: string }) => raw_line)).toEqual(['line 4', 'line 3']);
        expect((await call(node.url, token, 'GET', '/stream?start_time=yesterday')).status).toBe(422);
      },
      LIMIT_MS,
    );

    // A storm found it: with SQLite the node waited for its own connection to the database, for ever.
    test(
      '/stream: an open stream goes on with the lines of a log that was begun anew',
      async () => {
        await start(engine);
        const line = (raw_line: string) => publish(node, token, 'system.log', { decky: 'web-1', raw_line });
        await line('old');
        await caughtUp('logs');
        const client = await open('/stream');
        await client.untilFrames(1);
        await plane.redis.client().flushall();
        await line('new');
        await until('a reset', () => namesOf(client.frames).includes('reset'));
        await until('a new start', () => {
          const since = client.frames.slice(namesOf(client.frames).indexOf('reset'));
          return since.some(({ id }) => id !== undefined);
        });
        await line('newest');
        const lines = () => client.frames.flatMap((frame) => (dataOf(frame).type === 'logs' ? dataOf(frame).data : []));
        await until('the newest line', () => lines().at(-1)?.raw_line === 'newest');
        await caughtUp('logs');
        const page = JSON.parse(await (await call(node.url, token, 'GET', '/logs')).text());
        expect(page.data[0]).toEqual(lines().at(-1));
      },
      LIMIT_MS,
    );
  });
}
