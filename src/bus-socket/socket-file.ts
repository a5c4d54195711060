import { chmodSync, linkSync, lstatSync, renameSync, type Stats, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';

/** Another process may put its socket there again and again; somebody gives up. */
const ATTEMPTS = 5;
/** A listener that lives accepts at once; one that is too busy to do so by then lives, too. */
const PROBE_MS = 2000;

/** A name in the same folder that nobody else chooses. As short as it can be: paths of sockets end at some 107 bytes. */
export function besides(path: string): string {
  return join(dirname(path), `.${crypto.randomUUID().slice(0, 8)}`);
}

/**
 * Who may connect may publish and subscribe (contract §2.4): the owner and a group. A group that cannot be given is logged,
 * and the socket stays with the group of this process.
 */
export function restrict(path: string, group: string, logger: Log): void {
  chmodSync(path, 0o600); // Nobody gets in before the group is the right one.
  try {
    // The program knows groups of every kind, by name or number; Bun's own call wants numbers.
    const { exitCode, stderr } = Bun.spawnSync(['chgrp', '--', group, path]);
    if (exitCode !== 0) throw new Error(stderr.toString().trim());
  } catch (error) {
    logger.warn('the bus socket keeps the group of this process', { group, error: describeError(error) });
  }
  chmodSync(path, 0o660);
}

/**
 * Gives a socket that listens already the name by which it is to be found: in one step that fails when somebody else has the name,
 * so of two that begin at once one wins. A socket that nobody listens on any more is removed.
 * @param temporary the name that it has; it loses that
 * @returns takes the name away again
 * @throws when somebody listens there, or when there is something else than a socket
 */
export async function publishSocket(temporary: string, path: string): Promise<() => void> {
  const ours = lstatSync(temporary);
  try {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      if (isLinked(temporary, path)) return () => removeIf(path, (found) => isSame(found, ours));
      await removeStale(path);
    }
  } finally {
    unlinkSync(temporary);
  }
  throw new Error(`DECNET_BUS_SOCKET ${path}: others keep taking the name`);
}

function isLinked(temporary: string, path: string): boolean {
  try {
    linkSync(temporary, path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new Error(`DECNET_BUS_SOCKET ${path} is no socket: remove it, or set another path`);
  }
  if (await isAlive(path)) {
    throw new Error(`DECNET_BUS_SOCKET ${path}: another process listens there; stop it, or set another path`);
  }
  removeIf(path, (now) => isSame(now, found));
}

/** Whether somebody listens. Only a refusal says no: whoever is busy, or lets nobody in, is there. */
function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path });
    const answer = (isThere: boolean) => {
      clearTimeout(timer);
      probe.destroy();
      resolve(isThere);
    };
    const timer = setTimeout(answer, PROBE_MS, true);
    probe.on('connect', () => answer(true));
    probe.on('error', (error) => answer(!['ECONNREFUSED', 'ENOENT'].includes(codeOf(error))));
  });
}

/** Takes the name away and looks at what it was the name of: looking first, it could be another's by the time that it goes. */
function removeIf(path: string, isIt: (found: Stats) => boolean): void {
  const aside = besides(path);
  try {
    renameSync(path, aside);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw error;
  }
  if (!isIt(lstatSync(aside))) isLinked(aside, path);
  unlinkSync(aside);
}

const isSame = (one: Stats, other: Stats) => one.ino === other.ino && one.dev === other.dev;

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
