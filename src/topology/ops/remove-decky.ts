import { findDecky, type Op } from './op.ts';
import { requiredText } from './payload.ts';

/** `{decky}`: it and its edges. */
export const removeDecky: Op = (state, payload) => {
  const decky = findDecky(state, requiredText(payload, 'decky'));
  return {
    ...state,
    deckies: state.deckies.filter((other) => other !== decky),
    edges: state.edges.filter((edge) => edge.decky_uuid !== decky.uuid),
  };
};
