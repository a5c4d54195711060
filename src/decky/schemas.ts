import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { integer, json, jsonObject, message, oneOf, orNull, ref, time } from '../http/schemas.ts';

const services = t.Array(t.String());
const serviceConfig = t.Object({ config: t.Optional(jsonObject) });
const seconds = t.Number({ description: 'Seconds since the epoch; 0 for never' });
const lifecycleIds = t.Array(t.String(), { description: 'What becomes of it: GET /deckies/lifecycle' });
const topologyId = orNull(t.String({ description: 'Null in the fleet' }));

export const deckyModels = {
  /** Contract P2.1. */
  FleetDecky: t.Object({
    uuid: t.String({ description: '<host or local>:<name>' }),
    name: t.String(),
    ip: t.String(),
    services,
    distro: t.String(),
    base_image: t.String(),
    build_base: t.String(),
    hostname: t.String(),
    archetype: orNull(t.String()),
    service_config: t.Record(t.String(), json, { description: 'Service → its configuration' }),
    nmap_os: t.String(),
    mutate_interval: orNull(t.Unsafe<number>({ ...integer, description: "In minutes; null follows the fleet's" })),
    last_mutated: seconds,
    last_login_attempt: seconds,
    host_uuid: orNull(t.String()),
    state: t.String(),
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
  DeckyServices: t.Object({ decky_name: t.String(), topology_id: topologyId, services }),
  DeckyServiceConfig: t.Object({
    decky_name: t.String(),
    service_name: t.String(),
    topology_id: topologyId,
    config: jsonObject,
    recreated: t.Boolean({ description: 'The decky was made anew and runs with it' }),
  }),
};

const minutes = t.Unsafe<number>({ ...integer, minimum: 1, description: 'Minutes' });

export const fleetOperations = {
  list: operation('listFleet', {
    tag: 'fleet',
    summary: 'List the fleet by name',
    access: 'viewer',
    answers: { 200: t.Array(ref('FleetDecky')) },
  }),
  lifecycle: operation('listDeckyLifecycle', {
    tag: 'fleet',
    summary: 'Look up what became of deployments and rotations',
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
    answers: { 202: t.Object({ lifecycle_ids: lifecycleIds }) },
    refuses: [404, 422],
  }),
  setInterval: operation('setDeckyMutateInterval', {
    tag: 'fleet',
    summary: 'Say how often a decky changes by itself',
    access: 'admin',
    body: t.Object({
      mutate_interval: t.Optional(
        t.Union([t.String({ maxLength: 16, description: 'Such as 30m or 5d' }), minutes, t.Null()]),
      ),
    }),
    answers: { 200: message },
    refuses: [404],
  }),
  mode: operation('readDeploymentMode', {
    tag: 'fleet',
    summary: 'Read how deckies are deployed: on this host, always',
    access: 'viewer',
    answers: { 200: t.Object({ mode: oneOf(['unihost']), role: oneOf(['master']), swarm_host_count: integer }) },
  }),
  deploy: operation('deployFleet', {
    tag: 'fleet',
    summary: 'Add the deckies of an INI file to the fleet, or put them in its place',
    access: 'admin',
    body: t.Object(
      {
        ini_content: t.String({ description: 'A section for each decky; 512 KiB at most' }),
        replace_fleet: t.Optional(t.Boolean({ default: false })),
      },
      { additionalProperties: false },
    ),
    answers: { 202: t.Object({ message: t.String(), mode: oneOf(['unihost']), lifecycle_ids: lifecycleIds }) },
    refuses: [409],
  }),
  remove: operation('removeFleetDecky', {
    tag: 'fleet',
    summary: 'Take a decky out of the fleet',
    access: 'admin',
    answers: { 204: null },
    refuses: [404, 409, 422],
  }),
};

/** What all of them may meet. */
const EDIT_REFUSALS = [404, 409, 422] as const;

/** @param decky what it is called in the ids of its operations, and in words */
const serviceEdits = (decky: string, words: string) => ({
  add: operation(`add${decky}Service`, {
    tag: 'fleet',
    summary: `Add a service to ${words}`,
    access: 'admin',
    body: t.Object({ name: t.String({ minLength: 1, maxLength: 64 }), config: t.Optional(jsonObject) }),
    answers: { 201: ref('DeckyServices') },
    refuses: EDIT_REFUSALS,
  }),
  remove: operation(`remove${decky}Service`, {
    tag: 'fleet',
    summary: `Take a service from ${words}, and its configuration with it`,
    access: 'admin',
    answers: { 200: ref('DeckyServices') },
    refuses: EDIT_REFUSALS,
  }),
  configure: operation(`configure${decky}Service`, {
    tag: 'fleet',
    summary: `Keep a configuration for a service of ${words}, for when it is next made`,
    access: 'admin',
    body: serviceConfig,
    answers: { 200: ref('DeckyServiceConfig') },
    refuses: EDIT_REFUSALS,
  }),
  apply: operation(`apply${decky}ServiceConfig`, {
    tag: 'fleet',
    summary: `Configure a service of ${words} and make it anew, so that it runs with it`,
    access: 'admin',
    body: serviceConfig,
    answers: { 201: ref('DeckyServiceConfig') },
    refuses: EDIT_REFUSALS,
  }),
});

export const serviceOperations = serviceEdits('Decky', 'a decky of a topology');
export const fleetServiceOperations = serviceEdits('FleetDecky', 'a decky of the fleet');
