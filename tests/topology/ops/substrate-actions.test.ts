import { expect, test } from 'bun:test';
import type { JsonObject } from '../../../src/bus/event.ts';
import type { SubstrateAction } from '../../../src/substrate/substrate.ts';
import type { MutationOp } from '../../../src/topology/model.ts';
import { substrateActions } from '../../../src/topology/ops/substrate-actions.ts';
import type { TopologyState } from '../../../src/topology/state.ts';
import { lan, OFFICE, run } from './support.ts';

/** An action in short: what is done to whom, and for a decky what it runs and where. */
function brief(action: SubstrateAction): string {
  if (action.do === 'removeDecky') return `removeDecky ${action.decky.name}`;
  if (action.do === 'ensureDecky') {
    const { name, services, addresses, forwardsL3 } = action.decky;
    const places = addresses.map(({ lanId, ip }) => `${lanId}=${ip}`);
    return `ensureDecky ${[name, ...services, ...places].join(' ')}${forwardsL3 ? ' forwards' : ''}`;
  }
  return `${action.do} ${action.network.name} ${action.network.subnet}${action.network.isDmz ? ' dmz' : ''}`;
}
const actions = (before: TopologyState, after: TopologyState) => substrateActions(before, after).map(brief);

const WITH_LAB: TopologyState = { ...OFFICE, lans: [...OFFICE.lans, lan('lab', '10.2.0.0/24')] };
const BRIDGED = run('attach_decky', { decky: 'web', lan: 'lab' }, WITH_LAB);

test.each<[MutationOp, TopologyState, JsonObject, string[], string[]]>([
  [
    'add_lan',
    OFFICE,
    { name: 'vault', subnet: '10.3.0.0/24', is_dmz: true },
    ['ensureNetwork vault 10.3.0.0/24 dmz'],
    ['removeNetwork vault 10.3.0.0/24 dmz'],
  ],
  [
    'remove_lan',
    BRIDGED,
    { name: 'lab' },
    ['ensureDecky web ssh dmz=10.0.0.3', 'removeNetwork lab 10.2.0.0/24'],
    ['ensureNetwork lab 10.2.0.0/24', 'ensureDecky web ssh dmz=10.0.0.3 lab=10.2.0.2'],
  ],
  [
    'add_decky',
    OFFICE,
    { name: 'db', lan: 'dmz', services: ['mysql'], forwards_l3: true },
    ['ensureDecky db mysql dmz=10.0.0.4 forwards'],
    ['removeDecky db'],
  ],
  [
    'attach_decky',
    WITH_LAB,
    { decky: 'web', lan: 'lab' },
    ['ensureDecky web ssh dmz=10.0.0.3 lab=10.2.0.2'],
    ['ensureDecky web ssh dmz=10.0.0.3'],
  ],
  [
    'detach_decky',
    OFFICE,
    { decky: 'gateway', lan: 'office' },
    ['ensureDecky gateway ssh dmz=10.0.0.2'],
    ['ensureDecky gateway ssh dmz=10.0.0.2 office=10.0.1.2'],
  ],
  ['remove_decky', OFFICE, { decky: 'web' }, ['removeDecky web'], ['ensureDecky web ssh dmz=10.0.0.3']],
  [
    'update_decky',
    OFFICE,
    { decky: 'web', services: ['http'] },
    ['ensureDecky web http dmz=10.0.0.3'],
    ['ensureDecky web ssh dmz=10.0.0.3'],
  ],
  ['update_decky', OFFICE, { decky: 'web', x: 1, patch: { os: 'linux' } }, [], []],
  [
    'update_lan',
    OFFICE,
    { name: 'office', patch: { name: 'hall' } },
    ['ensureNetwork hall 10.0.1.0/24'],
    ['ensureNetwork office 10.0.1.0/24'],
  ],
  ['update_lan', OFFICE, { name: 'office', x: 1 }, [], []],
])('%s has the substrate do what differs, and back', (op, before, payload, there, back) => {
  const after = run(op, payload, before);
  expect(actions(before, after)).toEqual(there);
  expect(actions(after, before)).toEqual(back);
});

test('a decky lists its home first, wherever that LAN stands', () => {
  const state = { ...OFFICE, lans: [...OFFICE.lans].reverse() };
  const [action] = substrateActions({ ...state, deckies: [] }, state).filter((one) => one.do === 'ensureDecky');
  expect(action && brief(action)).toBe('ensureDecky gateway ssh dmz=10.0.0.2 office=10.0.1.2');
});

test('what an agent on another host runs is left to it', () => {
  const pinned: TopologyState = { ...OFFICE, topology: { ...OFFICE.topology, mode: 'agent' } };
  expect(actions(pinned, run('remove_decky', { decky: 'web' }, pinned))).toEqual([]);
});
