import { type DeckyState, deckyNamed } from '../state.ts';
import { freeAddress, newEdge } from './membership.ts';
import { MutationError } from './mutation-error.ts';
import { findLan, type Op } from './op.ts';
import { optionalFlag, optionalNumber, optionalServices, optionalText, requiredName, requiredText } from './payload.ts';

/** `{name, lan, services?, archetype?, forwards_l3?, ip?, x?, y?}`: at home in the LAN, at the next free address. */
export const addDecky: Op = (state, payload, context) => {
  const name = requiredName(payload, 'name');
  const lanName = requiredText(payload, 'lan');
  if (deckyNamed(state, name) !== undefined) throw new MutationError(`decky '${name}' already exists`);
  const lan = findLan(state, lanName);
  const ip = optionalText(payload, 'ip') ?? freeAddress(state, lan);
  const archetype = optionalText(payload, 'archetype');
  const forwardsL3 = optionalFlag(payload, 'forwards_l3');
  const decky: DeckyState = {
    uuid: context.newId(),
    topology_id: state.topology.id,
    name,
    services: optionalServices(payload) ?? [],
    decky_config: {
      name,
      ips_by_lan: { [lan.name]: ip },
      ...(archetype === undefined ? {} : { archetype }),
      ...(forwardsL3 === undefined ? {} : { forwards_l3: forwardsL3 }),
    },
    ip,
    // An agent on another host runs it, some time later; here it runs before this is written.
    state: state.topology.mode === 'agent' ? 'pending' : 'running',
    last_error: null,
    compose_hash: null,
    last_seen: null,
    x: optionalNumber(payload, 'x') ?? null,
    y: optionalNumber(payload, 'y') ?? null,
  };
  const edge = newEdge(lan, decky.uuid, { bridge: false, forwardsL3: forwardsL3 ?? false }, context);
  return { ...state, deckies: [...state.deckies, decky], edges: [...state.edges, edge] };
};
