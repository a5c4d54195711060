import { homeLanOf } from '../state.ts';
import { withRenamedLan } from './membership.ts';
import { MutationError } from './mutation-error.ts';
import { findLan, type Op } from './op.ts';
import { requiredText } from './payload.ts';

/** `{name}`: deckies that only bridge to it are detached; one that is at home there forbids it. */
export const removeLan: Op = (state, payload) => {
  const lan = findLan(state, requiredText(payload, 'name'));
  const resident = state.deckies.find((decky) => homeLanOf(decky) === lan.name);
  if (resident !== undefined) {
    throw new MutationError(`LAN '${lan.name}' is the home LAN of decky '${resident.name}'; remove the decky first`);
  }
  return {
    ...state,
    lans: state.lans.filter((other) => other !== lan),
    deckies: state.deckies.map((decky) => withRenamedLan(decky, lan, undefined)),
    edges: state.edges.filter((edge) => edge.lan_id !== lan.id),
  };
};
