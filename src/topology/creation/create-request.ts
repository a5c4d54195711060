import { KNOWN_SERVICES } from '../../catalog/services.ts';
import { AppError } from '../../errors.ts';
import { BodyFields } from '../../http/body-fields.ts';
import type { NewTopology } from './create.ts';
import { type GeneratorRequest, lanCount, MAX_LANS } from './generate.ts';

const NAME = { min: 1, max: 64 };

/**
 * Reads the body of `POST /topologies/blank`.
 * @throws {AppError} `bad_request` or `invalid`
 */
export function parseBlankRequest(body: unknown): NewTopology {
  const fields = new BodyFields(body);
  const wanted = readTopology(fields);
  fields.check();
  assertPlaceable(wanted);
  return { name: wanted.name, configSnapshot: {} };
}

/**
 * Reads the body of `POST /topologies/`.
 * @param randomSeed the seed where the request names none
 * @throws {AppError} `bad_request` or `invalid`
 */
export function parseGeneratorRequest(
  body: unknown,
  randomSeed: () => number,
): { topology: NewTopology; request: GeneratorRequest } {
  const fields = new BodyFields(body);
  const wanted = readTopology(fields);
  const request = {
    depth: fields.integer('depth', { min: 1, max: 16 }),
    branchingFactor: fields.integer('branching_factor', { min: 1, max: 8 }),
    deckiesPerLanMin: fields.integerOr('deckies_per_lan_min', 1, { min: 0, max: 32 }),
    deckiesPerLanMax: fields.integerOr('deckies_per_lan_max', 3, { min: 1, max: 32 }),
    bridgeForwardProbability: fields.numberOr('bridge_forward_probability', 1, { min: 0, max: 1 }),
    crossEdgeProbability: fields.numberOr('cross_edge_probability', 0, { min: 0, max: 1 }),
    servicesExplicit: fields.textsOrNull('services_explicit') ?? [],
    randomizeServices: fields.booleanOr('randomize_services', true),
    seed: fields.integerOrNull('seed') ?? randomSeed(),
  };
  fields.check();
  assertPlaceable(wanted);
  assertPossible(request);
  return { topology: { name: wanted.name, configSnapshot: { ...request } }, request };
}

function readTopology(fields: BodyFields) {
  return {
    name: fields.text('name', NAME),
    mode: fields.oneOf('mode', ['unihost', 'agent']),
    targetHostUuid: fields.textOrNull('target_host_uuid', NAME),
  };
}

/**
 * This server keeps no registry of hosts: no agent would ever deploy what is meant for one.
 * @throws {AppError} `bad_request`
 */
function assertPlaceable({ mode, targetHostUuid }: ReturnType<typeof readTopology>): void {
  if (mode === 'unihost' && targetHostUuid === null) return;
  if (mode === 'unihost') throw new AppError('bad_request', 'target_host_uuid is for mode agent only');
  if (targetHostUuid === null) throw new AppError('bad_request', 'mode agent needs a target_host_uuid');
  throw new AppError(
    'bad_request',
    `The host ${targetHostUuid} is unknown: this server has no agents; use mode unihost`,
  );
}

/** What no single field can tell. */
function assertPossible(request: GeneratorRequest): void {
  if (request.deckiesPerLanMin > request.deckiesPerLanMax) {
    throw new AppError('bad_request', 'deckies_per_lan_min must not exceed deckies_per_lan_max');
  }
  const lans = lanCount(request);
  if (lans > MAX_LANS) {
    throw new AppError('bad_request', `This topology would have ${lans} LANs; at most ${MAX_LANS} are generated`);
  }
  assertKnownServices(request.servicesExplicit);
}

/** @throws {AppError} `bad_request` naming the services that do not exist */
export function assertKnownServices(services: readonly string[]): void {
  const unknown = services.filter((service) => !KNOWN_SERVICES.includes(service));
  if (unknown.length > 0) throw new AppError('bad_request', `Unknown services: ${unknown.join(', ')}`);
}
