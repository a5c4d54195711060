import { readFileSync, rmSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../telemetry/log.ts';

/** After SIGKILL only a disk that hangs keeps a process. */
const KILL_LIMIT_MS = 5000;

/** Where the process id of a folder's redis-server stands, from before it runs until it has ended. */
export const pidFile = (folder: string): string => join(folder, 'redis.pid');

/**
 * Ends the redis-server that a killed owner of the folder has left behind, so that never two write one append-only file.
 * Only the owner of the folder may call this.
 * @param graceMs milliseconds to end by itself; it is killed then, which loses nothing that was acknowledged
 * @throws when it is still there after all
 */
export async function endOrphan(folder: string, graceMs: number, logger: Log): Promise<void> {
  const pid = recordedPid(folder);
  if (pid !== undefined && isServerOf(pid, folder)) {
    logger.warn('ending the embedded redis that an earlier run left behind', { pid });
    signal(pid, 'SIGTERM', folder);
    if (!(await within(graceMs, () => hasEnded(pid)))) {
      logger.warn('it does not end by itself; killing it', { pid });
      signal(pid, 'SIGKILL', folder);
      if (!(await within(KILL_LIMIT_MS, () => hasEnded(pid)))) {
        throw new Error(`redis-server ${pid} still uses ${folder} and cannot be killed: its disk may hang`);
      }
    }
  }
  rmSync(pidFile(folder), { force: true });
}

function recordedPid(folder: string): number | undefined {
  const text = whenThere(() => readFileSync(pidFile(folder), 'utf8'))?.trim();
  // Empty when its writer was killed in between: then no server runs, since it waits for the whole line.
  return text !== undefined && /^[1-9]\d*$/.test(text) ? Number(text) : undefined;
}

/** The number may belong to another process by now, or the folder be a copy: it must be a redis-server on this very folder. */
function isServerOf(pid: number, folder: string): boolean {
  if (pid === process.pid) return false;
  const command = commandLine(pid);
  if (command === undefined) return false;
  const cwd = workingFolder(pid);
  if (cwd === undefined) return command.replaceAll('\0', ' ').includes(` --dir ${folder} --`);
  const { dev, ino } = statSync(folder);
  // An empty line: it is just becoming redis-server. A folder that was moved is still known by its inode.
  return cwd.dev === dev && cwd.ino === ino && (command === '' || command.includes('redis-server'));
}

/** @returns undefined when the process is not there */
function commandLine(pid: number): string | undefined {
  if (process.platform === 'linux') return whenThere(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
  return ps(pid, 'args=');
}

/** @returns undefined where the system does not tell, or tells only the process's own user */
function workingFolder(pid: number): Stats | undefined {
  if (process.platform !== 'linux') return undefined;
  return whenThere(() => statSync(`/proc/${pid}/cwd`));
}

/** A zombie has ended: in a container nobody may ever collect it. */
export function hasEnded(pid: number): boolean {
  if (process.platform !== 'linux') return /^(Z|$)/.test(ps(pid, 'stat=') ?? '');
  const stat = whenThere(() => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  // The state follows the name, which is in brackets and may hold any character.
  return stat === undefined || /^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}

function ps(pid: number, column: string): string | undefined {
  const { stdout, success } = Bun.spawnSync(['ps', '-ww', '-o', column, '-p', String(pid)]);
  return success ? stdout.toString().trim() : undefined;
}

function signal(pid: number, name: NodeJS.Signals, folder: string): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return;
    throw new Error(`redis-server ${pid} of another user uses ${folder}: end it first`, { cause: error });
  }
}

/** Asks again and again until it holds. @returns whether it did in time */
export async function within(limitMs: number, holds: () => boolean | Promise<boolean>): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > deadline) return false;
    await Bun.sleep(10);
  }
  return true;
}

function whenThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    // ESRCH: ended while it was read. EACCES: of another user.
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}

const codeOf = (error: unknown) => (error instanceof Error && 'code' in error ? String(error.code) : undefined);
