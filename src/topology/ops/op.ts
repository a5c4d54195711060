import type { JsonObject } from '../../bus/event.ts';
import { type DeckyState, deckyNamed, type LanState, lanNamed, type TopologyState } from '../state.ts';
import { MutationError } from './mutation-error.ts';

export interface OpContext {
  /** The id of a new row. The same mutation gets the same ids in the same order, however often it is tried. */
  newId(): string;
  /** CIDRs that no new LAN may have, beside those of the topology itself. */
  readonly usedSubnets: readonly string[];
}

/**
 * An operation: a pure function. What has to be done to the substrate follows from the two states
 * (`substrate-actions.ts`), and so does what is written.
 * @returns the topology after the operation; parts that did not change are the same objects
 * @throws {MutationError} when it cannot be done; then nothing has happened
 */
export type Op = (state: TopologyState, payload: JsonObject, context: OpContext) => TopologyState;

/** @throws {MutationError} when there is no such LAN */
export function findLan(state: TopologyState, name: string): LanState {
  const lan = lanNamed(state, name);
  if (lan === undefined) throw new MutationError(`LAN '${name}' not found`);
  return lan;
}

/** @throws {MutationError} when there is no such decky */
export function findDecky(state: TopologyState, name: string): DeckyState {
  const decky = deckyNamed(state, name);
  if (decky === undefined) throw new MutationError(`decky '${name}' not found`);
  return decky;
}

/** The list with one of its items replaced. */
export function replaced<T>(items: readonly T[], item: T, by: T): T[] {
  return items.map((other) => (other === item ? by : other));
}
