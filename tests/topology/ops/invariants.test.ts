import { expect, test } from 'bun:test';
import { checkInvariants } from '../../../src/topology/invariants.ts';
import type { TopologyState } from '../../../src/topology/state.ts';
import { decky, lan, OFFICE, withDecky, withLan } from './support.ts';

const at = (ips_by_lan: Record<string, unknown>) =>
  withDecky('web', { decky_config: { name: 'web', ips_by_lan: JSON.parse(JSON.stringify(ips_by_lan)) } });
const config = (more: Record<string, string | object>) =>
  withDecky('web', { decky_config: { name: 'web', ips_by_lan: {}, ...JSON.parse(JSON.stringify(more)) } });

test.each<[string, TopologyState, string[]]>([
  ['a sound topology', OFFICE, []],
  ['an empty one', { ...OFFICE, lans: [], deckies: [], edges: [] }, []],
  ['two LANs of one name', { ...OFFICE, lans: [...OFFICE.lans, lan('dmz', '10.0.2.0/24')] }, ['LAN_NAME_DUP']],
  ['two deckies of one name', { ...OFFICE, deckies: [...OFFICE.deckies, decky('web', {})] }, ['DECKY_NAME_DUP']],
  ['a configured name that is another decky', config({ name: 'desk' }), ['DECKY_NAME_DUP']],
  ['a configured name of its own', config({ name: 'www' }), []],
  ['an address in no LAN', at({ nowhere: '10.0.0.3' }), ['IP_UNKNOWN_LAN']],
  ['an address outside of the LAN', at({ dmz: '10.0.1.200' }), ['IP_OUT_OF_SUBNET']],
  ['the address before the LAN', at({ office: '10.0.0.255' }), ['IP_OUT_OF_SUBNET']],
  ['a word for an address', at({ dmz: 'ten' }), ['IP_MALFORMED']],
  ['leading zeros', at({ dmz: '10.0.0.03' }), ['IP_MALFORMED']],
  ['a number for an address', at({ dmz: 10 }), ['IP_MALFORMED']],
  ['null for an address', at({ dmz: null }), ['IP_MALFORMED']],
  ['an address taken', at({ dmz: '10.0.0.2' }), ['IP_COLLISION']],
  ['the last address of the LAN', at({ dmz: '10.0.0.255' }), []],
  ['a subnet without length', withLan('dmz', { subnet: '10.0.0.0' }), ['SUBNET_MALFORMED']],
  ['a subnet with host bits', withLan('dmz', { subnet: '10.0.0.1/24' }), ['SUBNET_MALFORMED']],
  ['the same subnet twice', withLan('dmz', { subnet: '10.0.1.0/24' }), ['IP_OUT_OF_SUBNET', 'SUBNET_OVERLAP']],
  ['a subnet around another', withLan('dmz', { subnet: '10.0.0.0/16' }), ['SUBNET_OVERLAP']],
  [
    'a subnet around two others, not next to the second',
    { ...OFFICE, lans: [...OFFICE.lans, lan('wide', '10.0.0.0/8'), lan('lab', '10.200.0.0/24')] },
    ['SUBNET_OVERLAP'],
  ],
  ['an unknown service', withDecky('web', { services: ['ssh', 'gopher'] }), ['UNKNOWN_SERVICE']],
  ['a service of the fleet, not of a decky', withDecky('web', { services: ['sniffer'] }), ['UNKNOWN_SERVICE']],
  ['a configured service that it does not have', config({ service_config: { http: {} } }), ['SERVICE_CFG_UNDECLARED']],
  ['a configured service that it has', config({ service_config: { ssh: {} } }), []],
  [
    'several, sorted and each once',
    withLan(
      'dmz',
      { subnet: 'x' },
      withDecky('web', { services: ['a', 'b'], decky_config: { ips_by_lan: { z: '?', y: '?' } } }),
    ),
    ['IP_MALFORMED', 'IP_UNKNOWN_LAN', 'SUBNET_MALFORMED', 'UNKNOWN_SERVICE'],
  ],
])('%s', (_, state, codes) => {
  expect<string[]>(checkInvariants(state)).toEqual(codes);
});
