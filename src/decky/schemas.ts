import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { jsonObject, message, oneOf, orNull, ref, time } from '../http/schemas.ts';

const services = t.Array(t.String());
const serviceConfig = t.Object({ config: jsonObject });

export const deckyModels = {
  FleetDecky: t.Object({
    name: t.String(),
    host_uuid: orNull(t.String()),
    archetype: t.String(),
    services,
    service_pool: t.Array(t.String(), { description: 'What a rotation picks from' }),
    mutate_interval: orNull(t.String({ description: "Such as 30m; null follows the fleet's" })),
    state: t.String(),
    last_mutated_at: orNull(time),
    next_due_at: orNull(time),
    updated_at: time,
  }),
  DeckyLifecycle: t.Object({
    id: t.String(),
    decky_name: t.String(),
    host_uuid: orNull(t.String()),
    operation: oneOf(['deploy', 'mutate']),
    status: oneOf(['pending', 'running', 'succeeded', 'failed']),
    error: orNull(t.String()),
    started_at: time,
    updated_at: time,
    completed_at: orNull(time),
  }),
  DeckyServices: t.Object({ decky_name: t.String(), topology_id: t.String(), services }),
  DeckyServiceConfig: t.Object({
    decky_name: t.String(),
    service_name: t.String(),
    topology_id: t.String(),
    config: jsonObject,
    recreated: t.Boolean({ description: 'The decky was made anew and runs with it' }),
  }),
};

export const fleetOperations = {
  list: operation('listFleet', {
    tag: 'fleet',
    summary: 'List the fleet by name',
    access: 'viewer',
    answers: { 200: t.Array(ref('FleetDecky')) },
  }),
  lifecycle: operation('listDeckyLifecycle', {
    tag: 'fleet',
    summary: 'Look up what became of rotations',
    access: 'viewer',
    answers: { 200: t.Object({ rows: t.Array(ref('DeckyLifecycle')) }) },
    refuses: [400, 422],
    parameters: [
      {
        name: 'ids',
        in: 'query',
        required: true,
        description: 'Repeated, 200 at most; what nobody has is left out',
        schema: t.Array(t.String(), { maxItems: 200 }),
      },
    ],
  }),
  mutate: operation('rotateDecky', {
    tag: 'fleet',
    summary: 'Have a decky pretend to be something else',
    access: 'admin',
    answers: { 202: t.Object({ lifecycle_ids: t.Array(t.String()) }) },
    refuses: [404, 422],
  }),
  setInterval: operation('setDeckyMutateInterval', {
    tag: 'fleet',
    summary: 'Say how often a decky changes by itself',
    access: 'admin',
    body: t.Object({ mutate_interval: orNull(t.String({ maxLength: 16, description: 'Such as 30m or 5d' })) }),
    answers: { 200: message },
    refuses: [404],
  }),
};

/** What all of them may meet in a topology that runs. */
const LIVE_REFUSALS = [404, 409] as const;

export const serviceOperations = {
  add: operation('addDeckyService', {
    tag: 'fleet',
    summary: 'Add a service to a decky that runs',
    access: 'admin',
    body: t.Object({ name: t.String({ minLength: 1, maxLength: 64 }), config: t.Optional(jsonObject) }),
    answers: { 201: ref('DeckyServices') },
    refuses: LIVE_REFUSALS,
  }),
  remove: operation('removeDeckyService', {
    tag: 'fleet',
    summary: 'Take a service from a decky that runs',
    access: 'admin',
    answers: { 200: ref('DeckyServices') },
    refuses: LIVE_REFUSALS,
  }),
  configure: operation('configureDeckyService', {
    tag: 'fleet',
    summary: 'Keep a configuration for a service, for when the decky is next made',
    access: 'admin',
    body: serviceConfig,
    answers: { 200: ref('DeckyServiceConfig') },
    refuses: LIVE_REFUSALS,
  }),
  apply: operation('applyDeckyServiceConfig', {
    tag: 'fleet',
    summary: 'Configure a service and make the decky anew, so that it runs with it',
    access: 'admin',
    body: serviceConfig,
    answers: { 200: ref('DeckyServiceConfig') },
    refuses: LIVE_REFUSALS,
  }),
};
