import { cpus } from 'node:os';
import type { Plane } from './plane.ts';

/**
 * Runs a case with the server, all processes of it, on a core of its own and everything else on the others, where the system can do that; says
 * in the results what a core does, whatever else the machine is busy with.
 * @returns what the case returns
 */
export async function pinned<T>(plane: Pick<Plane, 'serverPids' | 'redisPid'>, run: () => Promise<T>): Promise<T> {
  const last = cpus().length - 1;
  if (!isPinnable()) return run();
  for (const pid of plane.serverPids) pin(pid, '0');
  for (const pid of [plane.redisPid, process.pid]) pin(pid, `1-${last}`);
  try {
    return await run();
  } finally {
    for (const pid of [...plane.serverPids, plane.redisPid, process.pid]) pin(pid, `0-${last}`);
  }
}

/** Whether {@link pinned} pins. */
export function isPinnable(): boolean {
  return Bun.which('taskset') !== null && cpus().length > 1;
}

/** All threads of a process; what it starts from here on stays there, too. */
export function pin(pid: number, cores: string): void {
  const { exitCode, stderr } = Bun.spawnSync(['taskset', '--all-tasks', '--cpu-list', '--pid', cores, String(pid)]);
  if (exitCode !== 0) throw new Error(`taskset: ${stderr}`);
}
