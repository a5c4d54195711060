import { addressesOf } from '../state.ts';
import { freeAddress, isMember, newEdge, withAddresses } from './membership.ts';
import { MutationError } from './mutation-error.ts';
import { findDecky, findLan, type Op, replaced } from './op.ts';
import { optionalFlag, optionalText, requiredText } from './payload.ts';

/** `{decky, lan, ip?, forwards_l3?}`: a bridge into one more LAN. */
export const attachDecky: Op = (state, payload, context) => {
  const deckyName = requiredText(payload, 'decky');
  const lan = findLan(state, requiredText(payload, 'lan'));
  const decky = findDecky(state, deckyName);
  if (isMember(decky, lan)) throw new MutationError(`decky '${decky.name}' already on LAN '${lan.name}'`);
  const ip = optionalText(payload, 'ip') ?? freeAddress(state, lan);
  const forwardsL3 = optionalFlag(payload, 'forwards_l3') ?? false;
  const addresses = Object.fromEntries([...addressesOf(decky), [lan.name, ip]]);
  return {
    ...state,
    deckies: replaced(state.deckies, decky, withAddresses(decky, addresses)),
    edges: [...state.edges, newEdge(lan, decky.uuid, { bridge: true, forwardsL3 }, context)],
  };
};
