import { describe, expect, test } from 'bun:test';
import { OPS } from '../../../src/topology/ops/index.ts';
import { addressesOf, homeLanOf, type TopologyState } from '../../../src/topology/state.ts';
import { context, decky, edge, lan, OFFICE, run, withDecky } from './support.ts';

const findDecky = (state: TopologyState, name: string) => state.deckies.find((one) => one.name === name);
const findLan = (state: TopologyState, name: string) => state.lans.find((one) => one.name === name);
const addresses = (state: TopologyState, name: string) => {
  const found = findDecky(state, name);
  return found && Object.fromEntries(addressesOf(found));
};
const edgesOf = (state: TopologyState, name: string) =>
  state.edges.filter((one) => one.decky_uuid === findDecky(state, name)?.uuid).map((one) => one.lan_id);

describe('add_lan', () => {
  test('takes the next /24 that neither this topology nor another one uses', () => {
    const state = { ...OFFICE, lans: [...OFFICE.lans, lan('lab', '172.16.0.0/24')] };
    const after = OPS.add_lan(state, { name: 'vault' }, context(['172.16.1.0/25', '172.16.3.0/24']));
    expect(after.lans.at(-1)).toEqual(lan('new-1', '172.16.2.0/24', { name: 'vault' }));
    expect(after.lans.slice(0, -1)).toEqual([...state.lans]);
  });

  test('takes what it is given', () => {
    const after = run('add_lan', { name: 'lab', subnet: '10.5.0.0/16', is_dmz: true, x: 1.5, y: -2 });
    expect(after.lans.at(-1)).toEqual(lan('new-1', '10.5.0.0/16', { name: 'lab', is_dmz: 1, x: 1.5, y: -2 }));
  });

  test('takes null for absent', () => {
    const after = run('add_lan', { name: 'lab', subnet: null, is_dmz: null, x: null });
    expect(after.lans.at(-1)).toEqual(lan('new-1', '172.16.0.0/24', { name: 'lab' }));
  });

  test('says so when the pool is exhausted', () => {
    expect(() => OPS.add_lan(OFFICE, { name: 'lab' }, context(['172.16.0.0/12']))).toThrow(
      'no free /24 is left in 172.16.0.0/12',
    );
  });
});

describe('remove_lan', () => {
  test('detaches whoever bridges to it', () => {
    const state = {
      ...OFFICE,
      deckies: OFFICE.deckies.filter(({ name }) => name !== 'desk'),
      edges: OFFICE.edges.filter(({ id }) => id !== 'desk-office'),
    };
    const after = run('remove_lan', { name: 'office' }, state);
    expect(after.lans.map(({ name }) => name)).toEqual(['dmz']);
    expect(addresses(after, 'gateway')).toEqual({ dmz: '10.0.0.2' });
    expect(after.edges.map(({ id }) => id)).toEqual(['gateway-dmz', 'web-dmz']);
    expect(findDecky(after, 'web')).toBe(findDecky(state, 'web'));
  });

  test('removes one without members', () => {
    const state = { ...OFFICE, lans: [...OFFICE.lans, lan('lab', '10.0.2.0/24')] };
    expect(run('remove_lan', { name: 'lab' }, state)).toEqual(OFFICE);
  });
});

describe('add_decky', () => {
  test('makes it at home in its LAN, at the next free address after the gateway', () => {
    const after = run('add_decky', { name: 'db', lan: 'office', services: ['mysql', 'ssh', 'mysql'] });
    expect(after.deckies.at(-1)).toEqual(
      decky('db', { office: '10.0.1.4' }, { uuid: 'new-1', services: ['mysql', 'ssh'] }),
    );
    expect(after.edges.at(-1)).toEqual({ ...edge('db', 'office'), id: 'new-2', decky_uuid: 'new-1' });
  });

  test('keeps archetype, forwarding, address and place', () => {
    const payload = { name: 'db', lan: 'dmz', archetype: 'database', forwards_l3: true, ip: '10.0.0.77', x: 3, y: 4 };
    const after = run('add_decky', payload);
    expect(after.deckies.at(-1)).toEqual(
      decky(
        'db',
        { dmz: '10.0.0.77' },
        {
          uuid: 'new-1',
          services: [],
          x: 3,
          y: 4,
          decky_config: { name: 'db', ips_by_lan: { dmz: '10.0.0.77' }, archetype: 'database', forwards_l3: true },
        },
      ),
    );
    expect(after.edges.at(-1)).toMatchObject({ is_bridge: 0, forwards_l3: 1 });
  });

  test('skips every address of the LAN that is taken, also by those who bridge to it', () => {
    let state: TopologyState = { ...OFFICE, lans: [lan('tiny', '10.8.0.0/29')], deckies: [], edges: [] };
    for (const name of ['a', 'b', 'c', 'd', 'e']) state = run('add_decky', { name, lan: 'tiny' }, state);
    expect(state.deckies.map(({ ip }) => ip)).toEqual(['2', '3', '4', '5', '6'].map((last) => `10.8.0.${last}`));
    expect(() => run('add_decky', { name: 'f', lan: 'tiny' }, state)).toThrow("LAN 'tiny' has no free address");
  });

  test('leaves one that an agent runs pending', () => {
    const state: TopologyState = { ...OFFICE, topology: { ...OFFICE.topology, mode: 'agent' } };
    expect(run('add_decky', { name: 'db', lan: 'office' }, state).deckies.at(-1)?.state).toBe('pending');
  });
});

describe('attach_decky', () => {
  test('adds an address and a bridge', () => {
    const after = run('attach_decky', { decky: 'web', lan: 'office' });
    expect(addresses(after, 'web')).toEqual({ dmz: '10.0.0.3', office: '10.0.1.4' });
    expect(findDecky(after, 'web')?.ip).toBe('10.0.0.3');
    expect(after.edges.at(-1)).toEqual({ ...edge('web', 'office', 1), id: 'new-1' });
  });

  test('takes an address and forwarding', () => {
    const after = run('attach_decky', { decky: 'web', lan: 'office', ip: '10.0.1.99', forwards_l3: true });
    expect(addresses(after, 'web')).toEqual({ dmz: '10.0.0.3', office: '10.0.1.99' });
    expect(after.edges.at(-1)).toMatchObject({ is_bridge: 1, forwards_l3: 1 });
  });
});

describe('detach_decky', () => {
  test('takes the address and the bridge away', () => {
    const after = run('detach_decky', { decky: 'gateway', lan: 'office' });
    expect(addresses(after, 'gateway')).toEqual({ dmz: '10.0.0.2' });
    expect(edgesOf(after, 'gateway')).toEqual(['dmz']);
    expect(edgesOf(after, 'desk')).toEqual(['office']);
  });

  test('undoes an attachment exactly', () => {
    const attached = run('attach_decky', { decky: 'web', lan: 'office' });
    expect(run('detach_decky', { decky: 'web', lan: 'office' }, attached)).toEqual(OFFICE);
  });

  test('says when there is nowhere to leave', () => {
    const state = withDecky('web', { decky_config: { name: 'web', ips_by_lan: {} }, ip: null });
    expect(() => run('detach_decky', { decky: 'web', lan: 'dmz' }, state)).toThrow('decky has no LAN memberships');
  });

  test('knows the home though a LAN whose name is a number comes first in every JavaScript object', () => {
    const state = run('attach_decky', { decky: 'web', lan: '42' }, run('add_lan', { name: '42' }));
    expect(Object.keys(addresses(state, 'web') ?? {})).toEqual(['42', 'dmz']);
    expect(() => run('detach_decky', { decky: 'web', lan: 'dmz' }, state)).toThrow('cannot detach home LAN');
    expect(addresses(run('detach_decky', { decky: 'web', lan: '42' }, state), 'web')).toEqual({ dmz: '10.0.0.3' });
  });
});

test('remove_decky takes it away with its edges', () => {
  const after = run('remove_decky', { decky: 'gateway' });
  expect(after.deckies.map(({ name }) => name)).toEqual(['web', 'desk']);
  expect(after.edges.map(({ id }) => id)).toEqual(['web-dmz', 'desk-office']);
});

describe('update_decky', () => {
  test('drops the configuration of services that it takes away, and nothing else of it', () => {
    const configured = run('update_decky', {
      decky: 'web',
      services: ['http', 'ssh'],
      patch: { service_config: { http: { port: 8080 }, ssh: { banner: 'x' } }, tag: 'kept' },
    });
    const after = run('update_decky', { decky: 'web', services: ['ssh'] }, configured);
    const config = after.deckies.find(({ name }) => name === 'web')?.decky_config;
    expect(config).toMatchObject({ service_config: { ssh: { banner: 'x' } }, tag: 'kept' });
    expect(config?.service_config).not.toHaveProperty('http');
  });

  test('merges the patch into its configuration, key by key', () => {
    const before = withDecky('web', {
      decky_config: { name: 'web', ips_by_lan: { dmz: '10.0.0.3' }, banner: { a: 1 }, os: 'linux' },
    });
    const after = run('update_decky', { decky: 'web', patch: { banner: { b: 2 }, tag: null } }, before);
    expect(findDecky(after, 'web')?.decky_config).toEqual({
      name: 'web',
      ips_by_lan: { dmz: '10.0.0.3' },
      banner: { b: 2 },
      os: 'linux',
      tag: null,
    });
  });

  test('replaces services and moves it', () => {
    const after = run('update_decky', { decky: 'web', services: ['http', 'https'], x: 5, y: 6 });
    expect(after).toEqual(withDecky('web', { services: ['http', 'https'], x: 5, y: 6 }));
  });

  test('without anything to update is a success that changes nothing', () => {
    expect(run('update_decky', { decky: 'web' })).toEqual(OFFICE);
  });

  test('takes the whole configuration that an editor had read, but for what was changed elsewhere since', () => {
    const decky_config = { name: 'web', ips_by_lan: { dmz: '10.0.0.3', office: '10.0.1.9' }, archetype: 'server' };
    const now = run('update_decky', { decky: 'web', patch: { service_config: { ssh: { user: 'a' } } } });
    const stale = { ...decky_config, name: 'old', service_config: { ftp: {} }, forwards_l3: true };
    const after = run('update_decky', { decky: 'web', patch: { decky_config: stale }, force: true }, now);
    expect(findDecky(after, 'web')?.decky_config).toEqual({
      name: 'web',
      ips_by_lan: { dmz: '10.0.0.3' },
      service_config: { ssh: { user: 'a' } },
      archetype: 'server',
      forwards_l3: true,
    });
    const unforced = { decky: 'web', patch: { decky_config: { forwards_l3: false } } };
    expect(() => run('update_decky', unforced, after)).toThrow('only with force');
  });

  test('lets a decky homed in a DMZ forward when forced, and stop forwarding', () => {
    const on = run('update_decky', { decky: 'web', patch: { forwards_l3: true }, force: true });
    expect(findDecky(on, 'web')?.decky_config.forwards_l3).toBe(true);
    const same = run('update_decky', { decky: 'web', patch: { forwards_l3: true } }, on);
    expect(same).toEqual(on);
    expect(() => run('update_decky', { decky: 'web', patch: { forwards_l3: false } }, on)).toThrow('only with force');
    const off = run('update_decky', { decky: 'web', patch: { forwards_l3: false }, force: true }, on);
    expect(findDecky(off, 'web')?.decky_config.forwards_l3).toBe(false);
  });

  test('needs no force while the topology is not live', () => {
    const state: TopologyState = { ...OFFICE, topology: { ...OFFICE.topology, status: 'pending' } };
    const after = run('update_decky', { decky: 'web', patch: { forwards_l3: true } }, state);
    expect(findDecky(after, 'web')?.decky_config.forwards_l3).toBe(true);
  });

  test('has its own address follow a patch of its addresses', () => {
    const after = run('update_decky', {
      decky: 'gateway',
      patch: { ips_by_lan: { office: '10.0.1.9', dmz: '10.0.0.9' } },
    });
    const gateway = findDecky(after, 'gateway');
    expect(gateway?.ip).toBe('10.0.0.9');
    expect(gateway && homeLanOf(gateway)).toBe('dmz');
  });
});

describe('update_lan', () => {
  test('moves it', () => {
    const after = run('update_lan', { name: 'office', patch: { x: 1, y: 2 }, y: 3 });
    expect(findLan(after, 'office')).toEqual(lan('office', '10.0.1.0/24', { x: 1, y: 3 }));
  });

  test('renames it for its members too, each keeping its home', () => {
    const after = run('update_lan', { name: 'dmz', patch: { name: 'edge' } });
    expect(after.lans.map(({ name }) => name)).toEqual(['edge', 'office']);
    expect(addresses(after, 'gateway')).toEqual({ edge: '10.0.0.2', office: '10.0.1.2' });
    expect(addresses(after, 'web')).toEqual({ edge: '10.0.0.3' });
    expect(after.deckies.map(homeLanOf)).toEqual(['edge', 'edge', 'office']);
    expect(findDecky(after, 'desk')).toBe(findDecky(OFFICE, 'desk'));
  });

  test('with its own name changes nothing', () => {
    expect(run('update_lan', { name: 'dmz', patch: { name: 'dmz' } })).toEqual(OFFICE);
  });

  test('changes subnet and kind while the topology is not live', () => {
    const state: TopologyState = { ...OFFICE, topology: { ...OFFICE.topology, status: 'pending' } };
    const after = run('update_lan', { name: 'office', patch: { subnet: '10.9.0.0/24', is_dmz: true } }, state);
    expect(findLan(after, 'office')).toEqual(lan('office', '10.9.0.0/24', { is_dmz: 1 }));
  });
});

test('names that every JavaScript object knows are names like any other', () => {
  const state = run('add_lan', { name: 'constructor' }, run('add_lan', { name: '__proto__', subnet: '10.7.0.0/24' }));
  const attached = run('attach_decky', { decky: 'web', lan: '__proto__' }, state);
  const both = run('attach_decky', { decky: 'web', lan: 'constructor' }, attached);
  const web = findDecky(both, 'web');
  expect(web && [...addressesOf(web)]).toEqual([
    ['dmz', '10.0.0.3'],
    ['__proto__', '10.7.0.2'],
    ['constructor', '172.16.0.2'],
  ]);
});

/** Fails the test when anything in it is written to. */
function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null) Object.values(value).forEach(frozen);
  return Object.freeze(value);
}

test.each([
  ['add_lan', { name: 'lab' }],
  ['remove_lan', { name: 'empty' }],
  ['add_decky', { name: 'db', lan: 'office' }],
  ['attach_decky', { decky: 'web', lan: 'office' }],
  ['detach_decky', { decky: 'gateway', lan: 'office' }],
  ['remove_decky', { decky: 'gateway' }],
  ['update_decky', { decky: 'web', patch: { os: 'linux' } }],
  ['update_lan', { name: 'dmz', patch: { name: 'edge' } }],
] as const)('%s changes nothing that it is given', (op, payload) => {
  const state = frozen(structuredClone({ ...OFFICE, lans: [...OFFICE.lans, lan('empty', '10.6.0.0/24')] }));
  const copy = structuredClone(state);
  expect(run(op, frozen(structuredClone(payload)), state)).not.toEqual(copy);
  expect(state).toEqual(copy);
});
