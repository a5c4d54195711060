import { t } from 'elysia';
import { operation, type Parameter } from '../http/operation.ts';
import { expectedVersion, integer, json, jsonObject, oneOf, orNull, pageOf, ref, time } from '../http/schemas.ts';
import { MUTATION_OPS, MUTATION_STATES } from './model.ts';
import { STATUSES } from './status.ts';

const coordinate = orNull(t.Number({ description: 'On the canvas' }));
const id = t.String();

const mutation = {
  id,
  topology_id: id,
  op: oneOf(MUTATION_OPS),
  state: oneOf(MUTATION_STATES),
  requested_at: time,
  applied_at: orNull(time),
  reason: orNull(t.String({ description: 'Why it failed' })),
};

export const topologyModels = {
  Topology: t.Object({
    id,
    name: t.String(),
    mode: oneOf(['unihost', 'agent']),
    target_host_uuid: orNull(t.String()),
    status: oneOf(STATUSES),
    version: integer,
    needs_resync: t.Boolean(),
    created_at: time,
    status_changed_at: time,
    email_personas: t.String({ description: 'JSON in a string' }),
    language_default: t.String(),
  }),
  Lan: t.Object({
    id,
    topology_id: id,
    name: t.String(),
    subnet: t.String({ description: 'CIDR' }),
    is_dmz: t.Boolean(),
    docker_network_id: orNull(t.String()),
    x: coordinate,
    y: coordinate,
  }),
  Decky: t.Object({
    uuid: id,
    topology_id: id,
    name: t.String(),
    services: t.Array(t.String()),
    decky_config: t.Object(
      { name: t.String(), ips_by_lan: t.Record(t.String(), t.String()) },
      { additionalProperties: true },
    ),
    ip: orNull(t.String()),
    state: t.String(),
    last_error: orNull(t.String()),
    x: coordinate,
    y: coordinate,
  }),
  Edge: t.Object({
    id,
    topology_id: id,
    decky_uuid: id,
    lan_id: id,
    is_bridge: t.Boolean({ description: 'The decky is at home elsewhere' }),
    forwards_l3: t.Boolean(),
  }),
  Mutation: t.Object({ ...mutation, payload: jsonObject }),
  /** As snapshots hold it (contract §3.1). */
  MutationInFlight: t.Object({ ...mutation, payload: t.String({ description: 'JSON in a string' }) }),
  TopologyStatusEvent: t.Object({
    id,
    topology_id: id,
    from_status: oneOf(STATUSES),
    to_status: oneOf(STATUSES),
    at: time,
    reason: orNull(t.String()),
  }),
  Archetype: t.Object({
    slug: t.String(),
    display_name: t.String(),
    description: t.String(),
    services: t.Array(t.String()),
    preferred_distros: t.Array(t.String()),
    nmap_os: oneOf(['linux', 'windows', 'embedded']),
  }),
};

/** What opens the stream of a topology. */
export const topologySnapshotSchema = t.Object({
  topology_id: id,
  status: oneOf(STATUSES),
  in_flight: t.Array(ref('MutationInFlight'), { description: 'Pending before applying, the newest first in each' }),
});

const REDIRECT = { note: 'To the path with a slash at its end' };

export const topologyOperations = {
  list: operation('listTopologies', {
    tag: 'topologies',
    summary: 'List topologies',
    description: 'Without the last slash: 307 to the path with it.',
    access: 'viewer',
    answers: { 200: pageOf(ref('Topology')), 307: REDIRECT },
    refuses: [422],
  }),
  read: operation('readTopology', {
    tag: 'topologies',
    summary: 'Read a topology with its LANs, deckies and edges',
    access: 'viewer',
    answers: {
      200: t.Object({
        topology: ref('Topology'),
        lans: t.Array(ref('Lan')),
        deckies: t.Array(ref('Decky')),
        edges: t.Array(ref('Edge')),
      }),
    },
    refuses: [404],
  }),
  statusEvents: operation('listTopologyStatusEvents', {
    tag: 'topologies',
    summary: 'List the changes of status, the newest first',
    access: 'viewer',
    answers: { 200: t.Array(ref('TopologyStatusEvent')) },
    refuses: [404, 422],
  }),
  mutations: operation('listMutations', {
    tag: 'topologies',
    summary: 'List the mutations of a topology, the newest first',
    access: 'viewer',
    answers: { 200: t.Array(ref('Mutation')) },
    refuses: [404],
  }),
  enqueue: operation('enqueueMutation', {
    tag: 'topologies',
    summary: 'Queue a mutation of a live topology',
    description: 'The payload is checked when the mutator comes to it; what becomes of it is told on the stream.',
    access: 'admin',
    body: t.Object({
      op: oneOf(MUTATION_OPS),
      payload: t.Optional(jsonObject),
      expected_version: t.Optional(expectedVersion),
    }),
    answers: { 202: t.Object({ mutation_id: t.String(), state: oneOf(['pending']) }) },
    refuses: [404, 409],
  }),
};

export const catalogOperations = {
  services: operation('listServices', {
    tag: 'design',
    summary: 'List the services that a decky can pretend to be',
    access: 'viewer',
    answers: { 200: t.Object({ services: t.Array(t.String()), fleet_singletons: t.Array(t.String()) }) },
  }),
  serviceSchema: operation('readServiceSchema', {
    tag: 'design',
    summary: 'Read what of a service can be configured',
    access: 'viewer',
    answers: {
      200: t.Object({
        name: t.String(),
        fields: t.Array(
          t.Object({ key: t.String(), label: t.String(), type: t.String(), default: json, help: t.String() }),
        ),
      }),
    },
    refuses: [404],
  }),
  archetypes: operation('listArchetypes', {
    tag: 'design',
    summary: 'List what a decky can pose as, with credible services',
    access: 'viewer',
    answers: { 200: t.Object({ archetypes: t.Array(ref('Archetype')) }) },
  }),
  nextSubnet: operation('findFreeSubnet', {
    tag: 'design',
    summary: 'Find a free /24 in a network',
    access: 'viewer',
    answers: { 200: t.Object({ subnet: t.String() }) },
    refuses: [409, 422],
  }),
  nextAddress: operation('findFreeAddress', {
    tag: 'design',
    summary: 'Find a free address in a LAN',
    access: 'viewer',
    answers: { 200: t.Object({ subnet: t.String(), ip: t.String() }) },
    refuses: [404, 409],
  }),
};

const newTopology = {
  name: t.String({ minLength: 1, maxLength: 64 }),
  mode: t.Optional(oneOf(['unihost', 'agent'])),
  target_host_uuid: t.Optional(orNull(t.String({ description: 'For mode agent, and only there' }))),
};
const between = (minimum: number, maximum: number) => t.Unsafe<number>({ type: 'integer', minimum, maximum });
const probability = t.Optional(t.Number({ minimum: 0, maximum: 1 }));

export const creationOperations = {
  blank: operation('createBlankTopology', {
    tag: 'design',
    summary: 'Make a topology with nothing but a DMZ and its gateway',
    access: 'admin',
    body: t.Object(newTopology),
    answers: { 201: ref('Topology') },
    refuses: [409],
  }),
  generate: operation('generateTopology', {
    tag: 'design',
    summary: 'Have a topology grown by the generator',
    description: 'Without the last slash: 307 to the path with it.',
    access: 'admin',
    body: t.Object({
      ...newTopology,
      depth: between(1, 16),
      branching_factor: between(1, 8),
      deckies_per_lan_min: t.Optional(between(0, 32)),
      deckies_per_lan_max: t.Optional(between(1, 32)),
      bridge_forward_probability: probability,
      cross_edge_probability: probability,
      services_explicit: t.Optional(orNull(t.Array(t.String()))),
      randomize_services: t.Optional(t.Boolean()),
      seed: t.Optional(orNull(integer)),
    }),
    answers: { 201: ref('Topology'), 307: REDIRECT },
    refuses: [409],
  }),
};

const versioned = { expected_version: t.Optional(expectedVersion) };
const place = { x: t.Optional(coordinate), y: t.Optional(coordinate) };
const lanFields = { subnet: t.Optional(t.String({ description: 'CIDR' })), is_dmz: t.Optional(t.Boolean()) };
const deckyFields = { services: t.Optional(t.Array(t.String())), decky_config: t.Optional(jsonObject) };
const name = t.String({ minLength: 1, maxLength: 64 });
const ofVersion: Parameter = {
  name: 'expected_version',
  in: 'query',
  description: 'The version that the topology must still have, or 409',
  schema: integer,
};
const PENDING = 'Only while the topology is pending.';

export const editOperations = {
  addLan: operation('addLan', {
    tag: 'design',
    summary: 'Add a LAN',
    description: `Without a subnet it gets a free one. ${PENDING}`,
    access: 'admin',
    body: t.Object({ name, ...lanFields, ...place, ...versioned }),
    answers: { 201: ref('Lan') },
    refuses: [404, 409],
  }),
  patchLan: operation('changeLan', {
    tag: 'design',
    summary: 'Change a LAN; its deckies follow it into another network',
    description: PENDING,
    access: 'admin',
    body: t.Object({ name: t.Optional(name), ...lanFields, ...place, ...versioned }),
    answers: { 200: ref('Lan') },
    refuses: [404, 409],
  }),
  removeLan: operation('removeLan', {
    tag: 'design',
    summary: 'Remove a LAN that is nobody’s only one',
    description: PENDING,
    access: 'admin',
    parameters: [ofVersion],
    answers: { 204: null },
    refuses: [400, 404, 409, 422],
  }),
  addDecky: operation('addDecky', {
    tag: 'design',
    summary: 'Add a decky; edges put it into LANs',
    description: PENDING,
    access: 'admin',
    body: t.Object({ name, ...deckyFields, ...place, ...versioned }),
    answers: { 201: ref('Decky') },
    refuses: [404, 409],
  }),
  patchDecky: operation('changeDecky', {
    tag: 'design',
    summary: 'Change a decky',
    description: PENDING,
    access: 'admin',
    body: t.Object({ name: t.Optional(name), ...deckyFields, ...place, ...versioned }),
    answers: { 200: ref('Decky') },
    refuses: [404, 409],
  }),
  removeDecky: operation('removeDecky', {
    tag: 'design',
    summary: 'Remove a decky with its edges',
    description: PENDING,
    access: 'admin',
    parameters: [ofVersion],
    answers: { 204: null },
    refuses: [404, 409, 422],
  }),
  addEdge: operation('addEdge', {
    tag: 'design',
    summary: 'Put a decky into a LAN',
    description: `Its first LAN is its home. ${PENDING}`,
    access: 'admin',
    body: t.Object({
      decky_uuid: t.String(),
      lan_id: t.String(),
      is_bridge: t.Optional(t.Boolean()),
      forwards_l3: t.Optional(t.Boolean()),
      ...versioned,
    }),
    answers: { 201: ref('Edge') },
    refuses: [404, 409],
  }),
  removeEdge: operation('removeEdge', {
    tag: 'design',
    summary: 'Take a decky out of a LAN',
    description: PENDING,
    access: 'admin',
    parameters: [ofVersion],
    answers: { 204: null },
    refuses: [404, 409, 422],
  }),
};

export const lifecycleOperations = {
  deploy: operation('deployTopology', {
    tag: 'design',
    summary: 'Have a topology built, in the background',
    access: 'admin',
    answers: { 202: ref('Topology') },
    refuses: [404, 409],
  }),
  teardown: operation('tearDownTopology', {
    tag: 'design',
    summary: 'Have a topology taken down, in the background',
    access: 'admin',
    answers: { 202: ref('Topology') },
    refuses: [404, 409],
  }),
  remove: operation('deleteTopology', {
    tag: 'design',
    summary: 'Delete a topology that does not run; its streams end',
    access: 'admin',
    answers: { 204: null },
    refuses: [404, 409],
  }),
};
