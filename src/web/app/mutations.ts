import type { JsonRecord } from './json.ts';

/** What can be done to a running topology. */
export const MUTATION_OPS = [
  'update_decky',
  'add_decky',
  'attach_decky',
  'detach_decky',
  'remove_decky',
  'add_lan',
  'update_lan',
  'remove_lan',
] as const;
export type MutationOp = (typeof MUTATION_OPS)[number];

/** The names that exist in a topology; the examples are made of them. */
export interface TopologyNames {
  readonly deckies: readonly string[];
  readonly lans: readonly string[];
}

/**
 * A payload to start from, made of names that the topology has.
 * @param suffix makes the names of new things unlikely to exist already
 */
export function examplePayload(op: MutationOp, { deckies, lans }: TopologyNames, suffix: string): JsonRecord {
  const decky = deckies[0] ?? 'decky-name';
  const lan = lans[0] ?? 'lan-name';
  const otherLan = lans[1] ?? 'other-lan';
  switch (op) {
    case 'update_decky':
      return { decky, services: ['ssh'] };
    case 'add_decky':
      return { name: `decky-${suffix}`, lan, services: ['ssh', 'http'] };
    case 'attach_decky':
    case 'detach_decky':
      return { decky, lan: otherLan };
    case 'remove_decky':
      return { decky: deckies.at(-1) ?? decky };
    case 'add_lan':
      return { name: `lan-${suffix}` };
    case 'update_lan':
      return { name: lan, x: 120, y: 80 };
    case 'remove_lan':
      return { name: lans.at(-1) ?? lan };
  }
}
