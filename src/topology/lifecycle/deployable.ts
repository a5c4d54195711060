import { checkInvariants, type InvariantCode } from '../invariants.ts';
import { checkShape, type ShapeCode } from '../shape.ts';
import type { TopologyState } from '../state.ts';

type Code = ShapeCode | InvariantCode;

/** What each code says to whoever drew the topology. */
const MEANINGS: Readonly<Record<Code, string>> = {
  DMZ_MISSING: 'no LAN is the DMZ',
  DMZ_MULTIPLE: 'more than one LAN is the DMZ',
  DMZ_ORPHAN: 'no way of deckies leads from the DMZ to some LAN',
  DECKY_ORPHAN: 'a decky is in no LAN',
  LAN_NAME_DUP: 'two LANs have one name',
  DECKY_NAME_DUP: 'two deckies have one name',
  IP_UNKNOWN_LAN: 'a decky has an address in a LAN that does not exist',
  IP_OUT_OF_SUBNET: 'a decky has an address outside of its LAN',
  IP_MALFORMED: 'an address of a decky is none',
  IP_COLLISION: 'two deckies have one address',
  SUBNET_MALFORMED: 'a network of a LAN is none',
  SUBNET_OVERLAP: 'the networks of two LANs overlap',
  UNKNOWN_SERVICE: 'a decky has a service that is not known',
  SERVICE_CFG_UNDECLARED: 'a service is configured on a decky that does not have it',
};

/** @returns the codes of what keeps a topology from being deployed, sorted (contract §5.6) */
export function obstaclesOf(state: TopologyState): Code[] {
  return [...checkShape(state), ...checkInvariants(state)].sort();
}

/** The codes with what they mean, for a person. */
export function explain(codes: readonly Code[]): string {
  return codes.map((code) => `${code} (${MEANINGS[code]})`).join(', ');
}
