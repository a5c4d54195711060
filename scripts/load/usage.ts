import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import type { Redis } from 'ioredis';

/** Clock ticks a second in `/proc`: USER_HZ, 100 on every Linux that Bun runs on (proc(5)). */
const TICKS_PER_SECOND = 100;
const isLinux = process.platform === 'linux';

/** CPU time that processes have used so far, in milliseconds. */
export function cpuMs(...pids: number[]): number {
  return pids.reduce((sum, pid) => sum + cpuMsOf(pid), 0);
}

function cpuMsOf(pid: number): number {
  if (!isLinux) return parseTime(ps(pid, 'time'));
  // The second field is the name in brackets and may hold anything; utime and stime are the 14th and 15th.
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}

/**
 * CPU time that the whole machine has spent working so far, or its host has taken away, in milliseconds over all cores.
 */
export function machineCpuMs(): number {
  if (!isLinux) return cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0);
  // user, nice, system, idle, iowait, irq, softirq, steal. Not from os.cpus(), which leaves out the last two: softirq is
  // what loopback traffic is made of, and a process has it in its own time as well.
  const [, ...ticks] = readFileSync('/proc/stat', 'utf8').split('\n', 1).join().split(/ +/).map(Number);
  const [idle, wait] = [3, 4];
  const busy = ticks
    .slice(0, 8)
    .reduce((sum, value, index) => (index === idle || index === wait ? sum : sum + value), 0);
  return (busy * 1000) / TICKS_PER_SECOND;
}

/** Resident memory of a process, in bytes. */
export function residentBytes(pid: number): number {
  if (!isLinux) return Number(ps(pid, 'rss')) * 1024;
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kilobytes) * 1024;
}

function ps(pid: number, field: 'time' | 'rss'): string {
  return Bun.spawnSync(['ps', '-o', `${field}=`, '-p', String(pid)])
    .stdout.toString()
    .trim();
}

/** `[[days-]hours:]minutes:seconds` in milliseconds. */
function parseTime(text: string): number {
  const [clock = '', days = '0'] = text.split('-').reverse();
  const seconds = clock.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);
  return (Number(days) * 86_400 + seconds) * 1000;
}

/** Work that Redis has done so far. */
export interface RedisWork {
  /** CPU time of all its threads, in milliseconds. */
  readonly cpuMs: number;
  readonly connections: number;
  readonly memoryBytes: number;
  /** Command → calls. */
  readonly calls: ReadonlyMap<string, number>;
}

export async function redisWork(redis: Redis): Promise<RedisWork> {
  const text = await redis.info('everything');
  const number = (name: string) => Number(new RegExp(`^${name}:([0-9.]+)`, 'm').exec(text)?.[1] ?? 0);
  const calls = Array.from(text.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm), ([, name = '', count = '0']) => [
    name,
    Number(count),
  ]);
  return {
    cpuMs: (number('used_cpu_sys') + number('used_cpu_user')) * 1000,
    connections: number('connected_clients'),
    memoryBytes: number('used_memory'),
    calls: new Map(calls.map(([name, count]) => [String(name), Number(count)])),
  };
}

/** How often a command was called between two looks, with all its subcommands (`xgroup` counts `xgroup|setid`). */
export function callsBetween(before: RedisWork, after: RedisWork, command: string): number {
  let calls = 0;
  for (const [name, count] of after.calls) {
    if (name === command || name.startsWith(`${command}|`)) calls += count - (before.calls.get(name) ?? 0);
  }
  return calls;
}
