import type { JsonObject } from '../../bus/event.ts';
import { LIVE_STATUSES } from '../model.ts';
import type { LanState, TopologyState } from '../state.ts';
import { withRenamedLan } from './membership.ts';
import { MutationError } from './mutation-error.ts';
import { findLan, type Op, replaced } from './op.ts';
import { optionalFlag, optionalNumber, optionalObject, optionalText, requiredText } from './payload.ts';

const COLUMNS = ['name', 'subnet', 'is_dmz', 'x', 'y'];
/** What runs was made with these. */
const FIXED_WHILE_LIVE = ['subnet', 'is_dmz'];

/** `{name, patch?: {name?, subnet?, is_dmz?, x?, y?}, x?, y?}`; members keep their addresses under a new name. */
export const updateLan: Op = (state, payload) => {
  const lan = findLan(state, requiredText(payload, 'name'));
  const patch = optionalObject(payload, 'patch') ?? {};
  checkPatch(state, patch);
  const dmz = optionalFlag(patch, 'is_dmz');
  const updated: LanState = {
    ...lan,
    name: optionalText(patch, 'name') ?? lan.name,
    subnet: optionalText(patch, 'subnet') ?? lan.subnet,
    is_dmz: dmz === undefined ? lan.is_dmz : dmz ? 1 : 0,
    x: optionalNumber(payload, 'x') ?? optionalNumber(patch, 'x') ?? lan.x,
    y: optionalNumber(payload, 'y') ?? optionalNumber(patch, 'y') ?? lan.y,
  };
  return renamed({ ...state, lans: replaced(state.lans, lan, updated) }, lan, updated.name);
};

function checkPatch({ topology }: TopologyState, patch: JsonObject): void {
  const unknown = Object.keys(patch).find((column) => !COLUMNS.includes(column));
  if (unknown !== undefined) throw new MutationError(`a LAN's '${unknown}' cannot be patched`);
  const fixed = FIXED_WHILE_LIVE.filter((column) => patch[column] !== undefined);
  if (fixed.length > 0 && LIVE_STATUSES.includes(topology.status)) {
    throw new MutationError(`${fixed.join(' and ')} of a LAN cannot change while the topology is live; redeploy it`);
  }
}

/** Deckies know their LANs by name. @param lan as it was before */
function renamed(state: TopologyState, lan: LanState, name: string): TopologyState {
  if (name === lan.name) return state;
  if (state.lans.filter((other) => other.name === name).length > 1) {
    throw new MutationError(`LAN '${name}' already exists`, 'IntegrityError');
  }
  return { ...state, deckies: state.deckies.map((decky) => withRenamedLan(decky, lan, name)) };
}
