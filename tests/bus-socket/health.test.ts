import { afterEach, expect, test } from 'bun:test';
import { until } from '../support/until.ts';
import { createStage, type Stage } from './support.ts';

let stage: Stage;
afterEach(() => stage.stop());

test('says on the bus that it lives, at once and again, as DECNET’s own does', async () => {
  stage = await createStage({ heartbeatMs: 20, isTailLate: true });
  const peer = await stage.peer();
  peer.send('SUB', 'system.bus.health');
  await stage.beginTail();
  await until('two', () => peer.events().length >= 2);
  const [first, second] = peer.events();
  expect(first).toMatchObject({ topic: 'system.bus.health', type: 'bus.health', payload: { pid: process.pid } });
  expect(Object.keys(first?.payload ?? {})).toEqual(['pid', 'uptime_sec', 'ts']);
  expect(Number(first?.payload.ts)).toBeCloseTo(first?.ts ?? 0, 6);
  expect(Number(second?.payload.uptime_sec)).toBeGreaterThan(Number(first?.payload.uptime_sec));
});
