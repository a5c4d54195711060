import type { TopologyState } from './state.ts';

/** What must hold of the shape of a topology before it is deployed (contract §5.6); a live one may leave it. */
export type ShapeCode = 'DMZ_MISSING' | 'DMZ_MULTIPLE' | 'DMZ_ORPHAN' | 'DECKY_ORPHAN';

/** @returns the codes of what does not hold, each once */
export function checkShape(state: TopologyState): ShapeCode[] {
  const codes: ShapeCode[] = [];
  const dmzs = state.lans.filter((lan) => lan.is_dmz === 1).map(({ id }) => id);
  if (dmzs.length === 0) codes.push('DMZ_MISSING');
  if (dmzs.length > 1) codes.push('DMZ_MULTIPLE');
  // Without a DMZ no LAN is reached from it; saying so of each would hide the cause.
  if (dmzs.length > 0 && reachableFrom(dmzs, state).size < state.lans.length) codes.push('DMZ_ORPHAN');
  const placed = new Set(state.edges.map((edge) => edge.decky_uuid));
  if (state.deckies.some(({ uuid }) => !placed.has(uuid))) codes.push('DECKY_ORPHAN');
  return codes;
}

/** The LANs that a way leads to: from LAN to LAN over the deckies that are in both. */
function reachableFrom(start: readonly string[], { edges }: TopologyState): ReadonlySet<string> {
  const members = Map.groupBy(edges, (edge) => edge.lan_id);
  const memberships = Map.groupBy(edges, (edge) => edge.decky_uuid);
  const reached = new Set(start);
  // A Set is iterated in the order of insertion, what is added on the way included.
  for (const lan of reached) {
    for (const { decky_uuid } of members.get(lan) ?? []) {
      for (const { lan_id } of memberships.get(decky_uuid) ?? []) reached.add(lan_id);
    }
  }
  return reached;
}
