import { t } from 'elysia';
import { operation, type Parameter } from '../../http/operation.ts';
import { expectedVersion, integer, jsonObject, ref } from '../../http/schemas.ts';
import { coordinate } from '../schemas.ts';

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
    description: `Its first LAN is its home. Where it is already, the edge that it has is answered. ${PENDING}`,
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
