import { t } from 'elysia';
import { operation } from '../../http/operation.ts';
import { integer, oneOf, orNull, ref } from '../../http/schemas.ts';
import { REDIRECT } from '../schemas.ts';

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
