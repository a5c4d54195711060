import { LOG_CHANNEL } from '../../src/bus/channel.ts';
import { keys } from '../../src/bus/keys.ts';
import type { Random } from '../support/random.ts';
import type { Archive } from './archive.ts';
import type { Fleet, Node } from './fleet.ts';
import type { PostgresServer } from './postgres-server.ts';
import type { Fsync, Moment, RedisServer } from './redis-server.ts';

/** What can be broken. */
export interface World {
  readonly random: Random;
  readonly redis: RedisServer;
  /** Only one that belongs to the storm. */
  readonly postgres: PostgresServer | undefined;
  readonly fleet: Fleet;
  readonly archive: Archive;
  /** Earlier moments of Redis, the newest last: its backups. */
  readonly moments: Moment[];
  /** How much shorter than in the long storm everything lasts: 1 is not at all. */
  readonly haste: number;
}

/** What a fault breaks. Two at once break different things. */
export type Part = 'node' | 'background' | 'redis' | 'link' | 'database';

export interface Fault {
  readonly kind: string;
  readonly parts: readonly Part[];
  /** How often, compared to the others. */
  readonly weight: number;
  readonly isPossible?: (world: World) => boolean;
  /** Breaks it, holds it broken, mends it. When it resolves, the fault is over. */
  strike(world: World): Promise<void>;
}

export const FAULTS: readonly Fault[] = [
  { kind: 'node killed', parts: ['node'], weight: 4, strike: (world) => replace(world, 'kill') },
  { kind: 'node restarted', parts: ['node'], weight: 2, strike: (world) => replace(world, 'end') },
  { kind: 'node frozen', parts: ['node'], weight: 4, strike: freezeNode },
  { kind: 'all nodes killed', parts: ['node'], weight: 1, strike: replaceAll },
  { kind: 'background process killed', parts: ['background'], weight: 3, strike: killBackground },
  { kind: 'background process frozen', parts: ['background'], weight: 2, strike: freezeBackground },
  { kind: 'redis killed', parts: ['redis'], weight: 3, strike: killRedis },
  { kind: 'redis frozen', parts: ['redis'], weight: 3, strike: freezeRedis },
  { kind: 'redis restored', parts: ['redis'], weight: 3, isPossible: hasBackup, strike: (world) => restore(world, []) },
  {
    kind: 'redis restored, nodes killed',
    parts: ['redis', 'node'],
    weight: 2,
    isPossible: hasBackup,
    strike: restoreToNew,
  },
  { kind: 'redis lost its tail', parts: ['redis'], weight: 3, strike: (world) => loseTail(world, []) },
  { kind: 'redis lost its tail, node killed', parts: ['redis', 'node'], weight: 2, strike: loseTailWithNode },
  { kind: 'redis flushed', parts: ['redis'], weight: 2, strike: ({ archive }) => archive.flush() },
  { kind: 'channel trimmed', parts: ['redis'], weight: 4, strike: trim },
  { kind: 'stream deleted', parts: ['redis'], weight: 2, strike: deleteStream },
  { kind: 'groups deleted', parts: ['redis'], weight: 2, strike: deleteGroups },
  { kind: 'link cut', parts: ['link'], weight: 3, strike: (world) => cut(world, [anyNode(world)]) },
  { kind: 'all links cut', parts: ['link'], weight: 2, strike: (world) => cut(world, world.fleet.nodes) },
  { kind: 'link black-holed', parts: ['link'], weight: 3, strike: blackHole },
  {
    ...{ kind: 'postgres restarted', parts: ['database'], weight: 3 },
    isPossible: ({ postgres }) => postgres !== undefined,
    strike: async ({ postgres }) => postgres?.restart(),
  },
];

/** Chooses by weight among those that are possible, beside another. */
export function chooseFault(world: World, beside?: Fault): Fault {
  const possible = FAULTS.filter(
    ({ parts, isPossible }) => !parts.some((part) => beside?.parts.includes(part)) && (isPossible?.(world) ?? true),
  );
  let dice = world.random.next() * possible.reduce((sum, { weight }) => sum + weight, 0);
  const chosen = possible.find(({ weight }) => {
    dice -= weight;
    return dice < 0;
  });
  if (chosen === undefined) throw new Error('no fault is possible');
  return chosen;
}

// --- nodes -----------------------------------------------------------------------------------------------------------

async function replace(world: World, how: 'kill' | 'end'): Promise<void> {
  const node = anyNode(world);
  await world.fleet[how](node);
  await world.fleet.launch(node);
}

async function replaceAll({ fleet }: World): Promise<void> {
  await Promise.all(fleet.nodes.map((node) => fleet.kill(node)));
  await Promise.all(fleet.nodes.map((node) => fleet.launch(node)));
}

async function freezeNode(world: World): Promise<void> {
  const node = anyNode(world);
  const { child } = node;
  if (child === undefined) return;
  process.kill(child.pid, 'SIGSTOP');
  await hold(world, 500, 8000);
  if (node.child === child) process.kill(child.pid, 'SIGCONT');
}

/** Its node starts another one. */
async function killBackground(world: World): Promise<void> {
  const pid = await backgroundOf(anyNode(world));
  if (pid !== undefined) signal(pid, 'SIGKILL');
}

async function freezeBackground(world: World): Promise<void> {
  const pid = await backgroundOf(anyNode(world));
  if (pid === undefined) return;
  signal(pid, 'SIGSTOP');
  await hold(world, 500, 8000);
  signal(pid, 'SIGCONT');
}

/** Nothing when the node, or its background process, is just down. */
async function backgroundOf({ child }: Node): Promise<number | undefined> {
  if (child === undefined) return undefined;
  const response = await fetch(`${child.url}/readyz`, { signal: AbortSignal.timeout(5000) }).catch(() => undefined);
  const ready: { checks?: { background?: { pid: number | null } } } = JSON.parse((await response?.text()) ?? '{}');
  return ready.checks?.background?.pid ?? undefined;
}

/** It may have ended meanwhile. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

// --- redis -----------------------------------------------------------------------------------------------------------

/** With `always` nothing is lost, and nothing is looked at before. Otherwise the tail may be. */
async function killRedis(world: World): Promise<void> {
  if (world.redis.fsync === 'everysec') return comeBackAs(world, await world.redis.moment(), 'everysec', []);
  await world.redis.kill();
  await hold(world, 0, 2000);
  await world.redis.up();
}

async function freezeRedis(world: World): Promise<void> {
  world.redis.freeze();
  await hold(world, 300, 9000);
  world.redis.thaw();
}

function hasBackup({ moments }: World): boolean {
  return moments.length > 0;
}

/** @param nodes die with it, so that nobody remembers */
async function restore(world: World, nodes: readonly Node[]): Promise<void> {
  const index = world.random.between(0, world.moments.length - 1);
  const backup = world.moments[index];
  if (backup === undefined) return;
  await comeBackAs(world, backup, 'always', nodes);
  world.moments.splice(index + 1); // The later ones are of a history that is no more.
}

function restoreToNew(world: World): Promise<void> {
  return restore(world, world.fleet.nodes);
}

/** What `everysec` may lose: the writes of a moment before the crash. */
async function loseTail(world: World, nodes: readonly Node[]): Promise<void> {
  const synced = await world.redis.moment();
  await hold(world, 20, 1000);
  await comeBackAs(world, synced, 'everysec', nodes);
}

function loseTailWithNode(world: World): Promise<void> {
  return loseTail(world, [anyNode(world)]);
}

/** Redis crashes, and comes back with what it had at an earlier moment. */
export async function comeBackAs(
  { archive, fleet, redis }: Pick<World, 'archive' | 'fleet' | 'redis'>,
  moment: Moment,
  fsync: Fsync,
  nodes: readonly Node[],
): Promise<void> {
  await archive.freeze();
  await redis.kill();
  await Promise.all(nodes.map((node) => fleet.kill(node)));
  await redis.putBack(moment);
  // Before anybody can write: what is published again at once is the same as what was lost.
  await redis.inSecret((client) => archive.rewound(client));
  await redis.up(fsync);
  await Promise.all(nodes.map((node) => fleet.launch(node)));
}

// --- the log ---------------------------------------------------------------------------------------------------------

async function trim(world: World): Promise<void> {
  const { archive, random } = world;
  const channel = anyChannel(world);
  await archive.copy();
  await archive.trim(channel, random.between(1, archive.newest(channel) + 1));
}

function deleteStream(world: World): Promise<void> {
  return world.archive.delete(anyChannel(world));
}

async function deleteGroups(world: World): Promise<void> {
  const stream = keys.stream(anyChannel(world));
  const groups = (await world.redis.client.xinfo('GROUPS', stream).catch(() => [])) as string[][];
  for (const [, name] of groups) if (name !== undefined) await world.redis.client.xgroup('DESTROY', stream, name);
}

// --- between nodes and redis -----------------------------------------------------------------------------------------

async function cut(world: World, nodes: readonly Node[]): Promise<void> {
  await Promise.all(nodes.map(({ link }) => link.cut()));
  await hold(world, 100, 8000);
  await Promise.all(nodes.map(({ link }) => link.restore()));
}

/** Connections that are open stay so and carry nothing any more; new ones work: it is over when they are opened. */
async function blackHole(world: World): Promise<void> {
  anyNode(world).link.freeze();
  await hold(world, 0, 3000);
}

// ---------------------------------------------------------------------------------------------------------------------

function anyNode({ fleet, random }: World): Node {
  const [first, ...others] = fleet.nodes;
  if (first === undefined) throw new Error('there is no node');
  return random.pick([first, ...others]);
}

function anyChannel({ archive, random }: World): string {
  return random.pick([LOG_CHANNEL, ...archive.channels.filter((channel) => channel !== LOG_CHANNEL)]);
}

/** The length of a fault, not a wait for something: its effect depends on it. */
function hold({ haste, random }: World, fromMs: number, toMs: number): Promise<void> {
  return Bun.sleep(random.between(fromMs, toMs) / haste);
}
