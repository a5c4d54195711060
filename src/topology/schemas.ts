import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { expectedVersion, integer, json, jsonObject, oneOf, orNull, pageOf, ref, time } from '../http/schemas.ts';
import { MUTATION_OPS, MUTATION_STATES } from './model.ts';
import { STATUSES } from './status.ts';

export const coordinate = orNull(t.Number({ description: 'On the canvas' }));
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

/** Contract §5.3 rule 7. */
export const REDIRECT = { note: 'To the path with a slash at its end' };

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
