import { resolve } from 'node:path';
import { type ChildNode, spawnNode } from '../support/child-node.ts';
import type { Sabotage } from './server.ts';

const SERVER = resolve(import.meta.dir, 'server.ts');

/** Starts a node as a process of its own, if need be without a protection. */
export function startNode(env: Record<string, string>, without?: Sabotage): Promise<ChildNode> {
  return spawnNode(env, [SERVER, ...(without === undefined ? [] : [`--without=${without}`])]);
}
