import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { jsonObject, oneOf, orNull, ref } from '../http/schemas.ts';
import { LATENCIES, MAX_MANNERISMS, TONES } from './personas.ts';

export const personaModels = {
  /** Contract P3. */
  Persona: t.Object({
    name: t.String({ minLength: 1, maxLength: 128 }),
    email: t.String({ minLength: 3, maxLength: 255 }),
    role: t.String({ minLength: 1, maxLength: 128 }),
    tone: oneOf(TONES),
    tone_custom: orNull(t.String({ maxLength: 128 })),
    mannerisms: t.Array(t.String(), { maxItems: MAX_MANNERISMS }),
    language: t.String({ maxLength: 8 }),
    signature: orNull(t.String({ maxLength: 512 })),
    active_hours: t.String({ maxLength: 32 }),
    reply_latency: oneOf(LATENCIES),
    uses_llms_heavily: t.Boolean(),
  }),
  TopologyPersonas: t.Object({
    topology_id: t.String(),
    topology_name: t.String(),
    language_default: t.String(),
    personas: t.Array(ref('Persona')),
  }),
};

export const personaOperations = {
  read: operation('readPersonas', {
    tag: 'topologies',
    summary: 'Read who seems to write mail in a topology',
    access: 'viewer',
    answers: { 200: ref('TopologyPersonas') },
    refuses: [404],
  }),
  write: operation('writePersonas', {
    tag: 'topologies',
    summary: 'Say who seems to write mail in a topology, in place of those before',
    description: 'Each needs a name, an email and a role; what is no persona among others is left out.',
    access: 'admin',
    body: t.Object({ personas: t.Array(jsonObject) }),
    answers: { 200: ref('TopologyPersonas') },
    refuses: [404],
  }),
};
