import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Table } from './table.ts';

/** What is read of a `.cpuprofile`. */
interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  /** Microseconds. */
  readonly timeDeltas: readonly number[];
}

const MOST = 25;

/** The functions in which the process of the newest profile in a folder spent its time, without what they called. */
export function hotSpots(folder: string): Table {
  const file = readdirSync(folder)
    .filter((name) => name.endsWith('.cpuprofile'))
    .sort()
    .at(-1);
  if (file === undefined) throw new Error(`there is no profile in ${folder}`);
  const profile: Profile = JSON.parse(readFileSync(join(folder, file), 'utf8'));
  const names = new Map(profile.nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]));
  const self = new Map<string, number>();
  let total = 0;
  profile.samples.forEach((id, index) => {
    const spent = profile.timeDeltas[index] ?? 0;
    const name = names.get(id) ?? '';
    self.set(name, (self.get(name) ?? 0) + spent);
    total += spent;
  });
  const rows = [...self]
    .sort(([, left], [, right]) => right - left)
    .slice(0, MOST)
    .map(([name, spent]) => ({ function: name, 'self %': (100 * spent) / total }));
  return { title: 'Where the server spent its time', rows };
}

function nameOf({ functionName, url, lineNumber }: Profile['nodes'][number]['callFrame']): string {
  const place = url === '' ? 'native' : `${url.split('/').slice(-2).join('/')}:${lineNumber}`;
  return `${functionName || '(anonymous)'} ${place}`;
}
