import { nextSubnet } from '../addresses.ts';
import { type LanState, lanNamed } from '../state.ts';
import { LAN_POOL } from '../subnets.ts';
import { MutationError } from './mutation-error.ts';
import type { Op } from './op.ts';
import { optionalFlag, optionalNumber, optionalText, requiredText } from './payload.ts';

/** `{name, subnet?, is_dmz?, x?, y?}`: without a subnet it takes the next free /24. */
export const addLan: Op = (state, payload, context) => {
  const name = requiredText(payload, 'name');
  if (lanNamed(state, name) !== undefined) throw new MutationError(`LAN '${name}' already exists`, 'IntegrityError');
  const subnet =
    optionalText(payload, 'subnet') ??
    nextSubnet(LAN_POOL, [...context.usedSubnets, ...state.lans.map((other) => other.subnet)]);
  if (subnet === undefined) throw new MutationError(`no free /24 is left in ${LAN_POOL}`);
  const lan: LanState = {
    id: context.newId(),
    topology_id: state.topology.id,
    name,
    docker_network_id: null,
    subnet,
    is_dmz: optionalFlag(payload, 'is_dmz') ? 1 : 0,
    x: optionalNumber(payload, 'x') ?? null,
    y: optionalNumber(payload, 'y') ?? null,
  };
  return { ...state, lans: [...state.lans, lan] };
};
