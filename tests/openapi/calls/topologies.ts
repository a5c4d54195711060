import { liveTopology, newName, pendingTopology } from '../world.ts';
import { badPage, type Calls, NOWHERE, nothing, only, onPending } from './call.ts';

const persona = { name: 'Ada', email: 'ada@example.org', role: 'clerk' };
const stale = 'expected_version=999';

/** Topologies: reading, designing, changing and deploying them. */
export const TOPOLOGIES: Readonly<Record<string, Calls>> = {
  listTopologies: () => [{ expect: 200 }, { isWithoutSlash: true, expect: 307 }, badPage],
  readTopology: onPending(async (id) => [{ params: { id }, expect: 200 }, nothing]),
  listTopologyStatusEvents: async ({ api }) => {
    const { data } = await api('GET', '/topologies/');
    return [
      ...data.map(({ id }: { id: string }) => ({ params: { id }, expect: 200 })),
      { params: { id: data[0].id }, ...badPage },
      nothing,
    ];
  },
  listMutations: async (world) => {
    const { topology } = await liveTopology(world);
    const params = { id: topology.id };
    await world.api('POST', `/topologies/${topology.id}/mutations`, { op: 'add_lan', payload: { name: 'lab' } });
    return [{ params, expect: 200 }, { params, query: 'state=pending', expect: 200 }, nothing];
  },
  enqueueMutation: async (world) => {
    const { topology } = await liveTopology(world);
    const params = { id: topology.id };
    const body = { op: 'add_lan', payload: { name: 'lab' } };
    return [
      { params, body, expect: 202 },
      { params, body: { ...body, expected_version: 999 }, expect: 409 },
      { params, body: { payload: {} }, expect: 400 },
      { params, body: { op: 'explode' }, expect: 422 },
      { body, expect: 404 },
    ];
  },

  listServices: only(200),
  readServiceSchema: () => [{ params: { name: 'ssh' }, expect: 200 }, nothing],
  listArchetypes: only(200),
  findFreeSubnet: () => [
    { expect: 200 },
    { query: 'base=10.9.9.0/32', expect: 409 },
    { query: 'base=somewhere', expect: 422 },
  ],
  findFreeAddress: onPending(async (id, { lans }, { api }) => {
    const full = await api('POST', `/topologies/${id}/lans`, { name: 'full', subnet: '10.77.0.0/30' });
    const [lan] = lans;
    return [
      { params: { id, lan: lan.id }, expect: 200 },
      { params: { id, lan: NOWHERE }, expect: 404 },
      { params: { id, lan: full.id }, expect: 409 },
    ];
  }),

  createBlankTopology: () => {
    const body = { name: newName() };
    return [
      { body, expect: 201 },
      { body, expect: 409 },
      { body: {}, expect: 400 },
      { body: { name: newName(), mode: 'none' }, expect: 422 },
    ];
  },
  generateTopology: () => {
    const body = { name: newName(), depth: 2, branching_factor: 2, seed: 7 };
    return [
      { body, expect: 201 },
      { body, expect: 409 },
      { body, isWithoutSlash: true, expect: 307 },
      { body: { name: newName() }, expect: 400 },
      { body: { ...body, depth: 99 }, expect: 422 },
    ];
  },

  addLan: onPending(async (id) => [
    { params: { id }, body: { name: 'lab', x: 1.5 }, expect: 201 },
    { params: { id }, body: { name: 'lab' }, expect: 409 },
    { params: { id }, body: {}, expect: 400 },
    { params: { id }, body: { name: 'other', subnet: 'x' }, expect: 422 },
    { body: { name: 'lab' }, expect: 404 },
  ]),
  changeLan: onPending(async (id, { lans: [{ id: lan }] }) => [
    { params: { id, lan }, body: { x: 3, y: null }, expect: 200 },
    { params: { id, lan }, body: { expected_version: 999 }, expect: 409 },
    { params: { id, lan }, body: { name: 5 }, expect: 400 },
    { params: { id, lan }, body: { x: 'far' }, expect: 422 },
    { params: { id, lan: NOWHERE }, body: { x: 3 }, expect: 404 },
  ]),
  removeLan: onPending(async (id, { lans: [dmz] }, { api }) => {
    const lan = (await api('POST', `/topologies/${id}/lans`, { name: 'lab' })).id;
    return [
      { params: { id, lan }, query: stale, expect: 409 },
      { params: { id, lan }, query: 'expected_version=x', expect: 422 },
      { params: { id, lan }, expect: 204 },
      { params: { id, lan }, expect: 404 },
      // It is where the gateway is at home.
      { params: { id, lan: dmz.id }, expect: 400 },
    ];
  }),
  addDecky: onPending(async (id) => [
    { params: { id }, body: { name: 'mail', services: ['smtp'] }, expect: 201 },
    { params: { id }, body: { name: 'mail' }, expect: 409 },
    { params: { id }, body: {}, expect: 400 },
    { params: { id }, body: { name: 'a', decky_config: [] }, expect: 422 },
    { body: { name: 'mail' }, expect: 404 },
  ]),
  changeDecky: onPending(async (id, { deckies: [{ uuid: decky }] }) => [
    { params: { id, decky }, body: { services: ['ssh', 'http'] }, expect: 200 },
    { params: { id, decky }, body: { expected_version: 999 }, expect: 409 },
    { params: { id, decky }, body: { name: 5 }, expect: 400 },
    { params: { id, decky }, body: { x: 'far' }, expect: 422 },
    { params: { id, decky: NOWHERE }, body: {}, expect: 404 },
  ]),
  removeDecky: onPending(async (id, { deckies: [{ uuid: decky }] }) => [
    { params: { id, decky }, query: stale, expect: 409 },
    { params: { id, decky }, query: 'expected_version=x', expect: 422 },
    { params: { id, decky }, expect: 204 },
    { params: { id, decky }, expect: 404 },
  ]),
  addEdge: onPending(async (id, { lans: [lan] }, { api }) => {
    const decky = await api('POST', `/topologies/${id}/deckies`, { name: 'mail' });
    const body = { decky_uuid: decky.uuid, lan_id: lan.id };
    return [
      { params: { id }, body, expect: 201 },
      { params: { id }, body, expect: 201 },
      { params: { id }, body: { ...body, expected_version: 999 }, expect: 409 },
      { params: { id }, body: { ...body, lan_id: NOWHERE }, expect: 400 },
      { params: { id }, body: { ...body, is_bridge: 'perhaps' }, expect: 422 },
      { body, expect: 404 },
    ];
  }),
  removeEdge: onPending(async (id, { edges: [{ id: edge }] }) => [
    { params: { id, edge }, query: stale, expect: 409 },
    { params: { id, edge }, query: 'expected_version=x', expect: 422 },
    { params: { id, edge }, expect: 204 },
    { params: { id, edge }, expect: 404 },
  ]),

  deployTopology: onPending(async (id) => [{ params: { id }, expect: 202 }, { params: { id }, expect: 409 }, nothing]),
  tearDownTopology: async (world) => {
    const [live, pending] = [await liveTopology(world), await pendingTopology(world)];
    return [
      { params: { id: live.topology.id }, expect: 202 },
      { params: { id: pending.topology.id }, expect: 409 },
      nothing,
    ];
  },
  deleteTopology: async (world) => {
    const [live, pending] = [await liveTopology(world), await pendingTopology(world)];
    return [
      { params: { id: pending.topology.id }, expect: 204 },
      { params: { id: live.topology.id }, expect: 409 },
      nothing,
    ];
  },

  readPersonas: onPending(async (id, _, { api }) => {
    await api('PUT', `/topologies/${id}/personas`, { personas: [persona] });
    return [{ params: { id }, expect: 200 }, nothing];
  }),
  writePersonas: onPending(async (id) => [
    { params: { id }, body: { personas: [persona, {}] }, expect: 200 },
    { params: { id }, body: { personas: [{}] }, expect: 400 },
    { params: { id }, body: {}, expect: 400 },
    { body: { personas: [] }, expect: 404 },
  ]),
  reapOrphans: only(200),
};
