import { addressesOf, deckyNamed, homeLanOf, lanNamed } from '../state.ts';
import { isMember, withRenamedLan } from './membership.ts';
import { MutationError } from './mutation-error.ts';
import { type Op, replaced } from './op.ts';
import { requiredText } from './payload.ts';

/** `{decky, lan}`: the bridge into that LAN goes; its home LAN a decky leaves only by being removed. */
export const detachDecky: Op = (state, payload) => {
  const decky = deckyNamed(state, requiredText(payload, 'decky'));
  const lan = lanNamed(state, requiredText(payload, 'lan'));
  if (decky === undefined || lan === undefined) throw new MutationError('decky or LAN not found');
  if (addressesOf(decky).size === 0) throw new MutationError('decky has no LAN memberships');
  if (homeLanOf(decky) === lan.name) {
    throw new MutationError(`cannot detach home LAN '${lan.name}'; use remove_decky`);
  }
  if (!isMember(decky, lan)) throw new MutationError(`decky not attached to LAN '${lan.name}'`);
  return {
    ...state,
    deckies: replaced(state.deckies, decky, withRenamedLan(decky, lan, undefined)),
    edges: state.edges.filter((edge) => edge.decky_uuid !== decky.uuid || edge.lan_id !== lan.id),
  };
};
