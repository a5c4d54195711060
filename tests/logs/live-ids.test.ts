import { afterEach, describe, expect, test } from 'bun:test';
import { createEvent, type Event } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { Clients } from '../integration/support.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import { seeded } from '../support/random.ts';
import type { SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';

const LIMIT_MS = 120_000;
const PATIENCE_MS = 30_000;
const ROUNDS = 4;

const clients = new Clients();
let plane: Plane;
afterEach(async () => {
  clients.close();
  await plane.stop();
});

interface Line {
  readonly id: number;
  readonly raw_line: string;
}

const lineEvent = (raw_line: string): Event =>
  createEvent('system.log', 'login', { decky: 'web-1', raw_line, attacker_ip: '192.0.2.1' });
const textOf = ({ payload }: Event) => String(payload.raw_line);

/** The lines that a client was shown since it was reset last. */
function shown({ frames }: SseClient): Line[] {
  const since = frames.slice(frames.findLastIndex(({ event }) => event === 'reset') + 1);
  return since.flatMap(({ event, data }) => {
    const { type, data: lines } = event === 'message' ? JSON.parse(data) : {};
    return type === 'logs' ? lines : [];
  });
}

/** How many lines it was told that there are, in order: here none ever goes. */
function totalsOf({ frames }: SseClient): number[] {
  return frames.flatMap(({ event, data }) => {
    const { type, data: stats } = event === 'message' ? JSON.parse(data) : {};
    return type === 'stats' ? [stats.total_logs] : [];
  });
}

/** All rows, the newest id first. */
async function readLines(url: string, token: string): Promise<Line[]> {
  const { data } = JSON.parse(await (await call(url, token, 'GET', '/logs?limit=1000')).text());
  return data.toSorted((a: Line, b: Line) => b.id - a.id);
}

/** What the log holds, in its order. */
async function heldLines(redis: ReturnType<Plane['redis']['client']>): Promise<string[]> {
  const entries = await redis.xrange(keys.stream('system'), '-', '+');
  return entries.flatMap(([, fields]) => {
    const { raw_line } = JSON.parse(fields[fields.indexOf('data') + 1] ?? '{}').payload;
    return typeof raw_line === 'string' ? [raw_line] : [];
  });
}

for (const engine of ENGINES) {
  describe(`ids of lines (${engine})`, () => {
    // Without a relay nobody compares the log with what is known of it, and numbers are handed out again in the same epoch.
    test.each([
      ['the same epoch', 'api,housekeeper,projector'],
      ['another epoch', 'api,relay,housekeeper,projector'],
    ])(
      'in a storm of lost and repeated lines, the log coming back in %s: what is shown live is what is read later',
      async (_, roles) => {
        plane = await createPlane(engine);
        const node = await plane.node({}, { ROLES: roles });
        const token = await plane.token(node.url);
        const { db } = plane.database;
        const redis = plane.redis.client();
        const eventLog = new EventLog(redis, plane.config.bus);
        const random = seeded(7);
        let count = 0;
        const publish = async (events: readonly Event[]) => {
          // One by one, among others that are no lines: they have numbers, too.
          for (const event of events) {
            const others = Array.from({ length: random.between(0, 2) }, () =>
              createEvent('system.mutator.health', 'health', {}),
            );
            await eventLog.publish([...others, event].map((one) => ({ event: one })));
          }
        };
        const fresh = (most: number) =>
          Array.from({ length: random.between(1, most) }, () => {
            count += 1;
            return lineEvent(`line ${count}`);
          });
        const known = (text: string) =>
          until(
            'the line to have a row',
            async () => (await db.selectFrom('logs').select('id').where('raw_line', '=', text).execute()).length > 0,
            PATIENCE_MS,
          );

        await publish([lineEvent('first')]);
        await known('first');
        const client = await clients.open(node, '/stream', { token });
        await client.untilFrames(1);
        for (let round = 0; round < ROUNDS; round += 1) {
          const kept = fresh(4);
          await publish(kept);
          await known(textOf(kept.at(-1) as Event));
          await plane.redis.backup();
          const lost = fresh(5);
          await publish(lost);
          const newest = textOf(lost.at(-1) as Event);
          await known(newest);
          await until('the lost lines', () => shown(client).some(({ raw_line }) => raw_line === newest), PATIENCE_MS);
          const before = await eventLog.position('log');
          const isWitnessed = roles.includes('relay');
          if (isWitnessed) {
            await until('the witness', async () => {
              const rows = await db.selectFrom('log_witness').select('log_offset').execute();
              return rows.some(({ log_offset }) => log_offset >= before.offset);
            });
          }
          await plane.redis.down();
          await plane.redis.restore();
          await plane.redis.up();
          await until('redis', () => eventLog.position('log').catch(() => undefined));
          // Some of what was lost is published again, behind other lines.
          const again = lost.filter(() => random.chance(0.5));
          await publish([...fresh(3), ...again, ...fresh(3)]);
          const standing = () => eventLog.position('log');
          if (isWitnessed) await until('the rotation', async () => (await standing()).epoch !== before.epoch);
          const { epoch, offset } = await standing();
          await until(
            'the projection',
            async () => {
              const row = await db.selectFrom('projections').selectAll().where('name', '=', 'logs').executeTakeFirst();
              return row?.epoch === epoch && row.log_offset >= Math.max(offset, row.aligned_until);
            },
            PATIENCE_MS,
          );
          // Its snapshot contains the line otherwise, and does not tell it.
          const place = await eventLog.position('system');
          await until('the client', () => client.lastId.startsWith(`${epoch}.${place.offset}.`), PATIENCE_MS);
          const [last] = fresh(1);
          if (last === undefined) throw new Error('one line at least');
          await publish([last]);
          await until('the newest line', () => shown(client).at(-1)?.raw_line === textOf(last), PATIENCE_MS);
          await known(textOf(last));

          const totals = totalsOf(client);
          expect(totals).toEqual(totals.toSorted((a, b) => a - b));
          // While a log that came back older is read again, rows may have the ids of the lost places for a moment.
          const wrong = async () => {
            const idOf = new Map((await readLines(node.url, token)).map(({ id, raw_line }) => [raw_line, id]));
            return shown(client).filter(({ id, raw_line }) => idOf.get(raw_line) !== id);
          };
          await until('the ids to agree', async () => (await wrong()).length === 0).catch(() => undefined);
          expect(await wrong()).toEqual([]);
          const rows = await readLines(node.url, token);
          expect(new Set(rows.map(({ raw_line }) => raw_line)).size).toBe(count + 1);
          expect(rows).toHaveLength(count + 1);
          const idOf = new Map(rows.map(({ id, raw_line }) => [raw_line, id]));
          // The order of the log is that of the ids: whoever asks for what came after a line gets the rest, once.
          const held = await heldLines(redis);
          expect(held.map((text) => idOf.get(text) ?? 0)).toEqual(
            held.map((text) => idOf.get(text) ?? 0).toSorted((a, b) => a - b),
          );
          const rest = await clients.open(node, `/stream?once=1&lastEventId=${idOf.get(held[0] ?? '')}`, { token });
          await until('the end', () => rest.ended);
          const texts = shown(rest).map(({ raw_line }) => raw_line);
          expect(new Set(texts).size).toBe(texts.length);
          expect(texts.filter((text) => held.includes(text))).toEqual(held.slice(1).reverse());
        }
      },
      LIMIT_MS,
    );

    test(
      'a line that was published in the epoch before has the id of that epoch, also where it is shown in the next',
      async () => {
        plane = await createPlane(engine);
        const first = await plane.node({}, { ROLES: 'api,projector' });
        const token = await plane.token(first.url);
        const eventLog = new EventLog(plane.redis.client(), plane.config.bus);
        const { db } = plane.database;
        await eventLog.publish([{ event: lineEvent('projected') }]);
        await until('its row', async () => (await db.selectFrom('logs').select('id').execute()).length === 1);
        await first.stop();

        await eventLog.publish([{ event: lineEvent('behind') }]);
        const { epoch, offset } = await eventLog.position('log');
        // Something newer is known than the log holds: its epoch is rotated.
        const rotated = await eventLog.testify(
          { newest: { epoch, offset: offset + 1, proof: 'aaaaaaaa' }, epochs: [] },
          1,
        );
        expect(rotated).toMatchObject({ rotated: true });
        // The projection has noticed, and is not as far as the log yet.
        await db.updateTable('projections').set({ epoch: rotated.epoch }).where('name', '=', 'logs').execute();

        const node = await plane.node({}, { ROLES: 'api' });
        const client = await clients.open(node, '/stream', { token });
        await until('the line', () => shown(client).length === 1, PATIENCE_MS);
        const projector = await plane.node({}, { ROLES: 'api,projector' });
        const rows = await until(
          'its row',
          async () => {
            const found = await readLines(projector.url, token);
            return found.length === 2 ? found : undefined;
          },
          PATIENCE_MS,
        );
        expect(shown(client)).toEqual(rows.filter(({ raw_line }) => raw_line === 'behind'));
      },
      LIMIT_MS,
    );
  });
}
