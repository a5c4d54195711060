import { afterAll, beforeAll, expect, test } from 'bun:test';
import { PLAYED_WORKERS } from '../../src/demo/workers.ts';
import type { App } from '../../src/main.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';

let plane: Plane;
let node: App;
let admin: string;
const lines: string[] = [];

beforeAll(async () => {
  plane = await createPlane();
  const log = createLog('info', (line) => lines.push(line));
  node = await plane.node({ demo: true, log }, { ROLES: 'api,relay,housekeeper,projector' });
  admin = await plane.token(node.url);
});
afterAll(() => plane.stop());

test('the demonstration shows the workers that it plays, and they can be told to stop', async () => {
  const alive = async () => {
    const response = await call(node.url, admin, 'GET', '/workers');
    const { workers }: { workers: { name: string; status: string }[] } = JSON.parse(await response.text());
    return workers.flatMap(({ name, status }) => (status === 'ok' ? [name] : []));
  };
  const expected = ['api', 'bus', ...PLAYED_WORKERS].sort();
  await until('their heartbeats', async () => (await alive()).length >= expected.length, 20_000);
  expect((await alive()).sort()).toEqual(expected);
  expect((await call(node.url, admin, 'POST', '/workers/sniffer/stop')).status).toBe(202);
  await until('it to hear', () => lines.some((line) => line.includes('told to stop') && line.includes('sniffer')));
});
