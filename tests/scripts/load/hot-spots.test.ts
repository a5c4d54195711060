import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hotSpots } from '../../../scripts/load/hot-spots.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hot-spots-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const node = (id: number, functionName: string, url = '', lineNumber = -1) => ({
  id,
  callFrame: { functionName, url, lineNumber },
});

test('the functions of the newest profile come with their own share of the time, the largest first', async () => {
  const profile = {
    nodes: [
      node(1, 'publish', 'file:///somewhere/src/bus/event-log.ts', 7),
      node(2, ''),
      node(3, 'publish', 'file:///somewhere/src/bus/event-log.ts', 7),
    ],
    samples: [1, 2, 3, 2],
    timeDeltas: [100, 50, 200, 50],
  };
  await writeFile(join(folder, 'CPU.1.cpuprofile'), JSON.stringify({ ...profile, samples: [2, 2, 2, 2] }));
  await writeFile(join(folder, 'CPU.2.cpuprofile'), JSON.stringify(profile));
  expect(hotSpots(folder).rows).toEqual([
    { function: 'publish bus/event-log.ts:7', 'self %': 75 },
    { function: '(anonymous) native', 'self %': 25 },
  ]);
});

test('a folder without a profile is an error', () => {
  expect(() => hotSpots(folder)).toThrow('there is no profile');
});
