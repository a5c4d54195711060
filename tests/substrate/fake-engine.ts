import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isJsonObject, type JsonObject } from '../../src/bus/event.ts';

export interface FakeNetwork {
  readonly id: string;
  readonly name: string;
  readonly subnet: string;
  readonly internal: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
}

export interface FakeContainer {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly env: readonly string[];
  readonly sysctls: JsonObject;
  readonly labels: Readonly<Record<string, string>>;
  /** Network id → address. */
  readonly addresses: Map<string, string>;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  running: boolean;
}

/**
 * Answers the routes of the Docker Engine API v1.41 that the substrate uses, on a UNIX socket, out of memory: statuses and
 * shapes as https://docs.docker.com/reference/api/engine/version/v1.41/ documents them.
 */
export interface FakeEngine {
  readonly socketPath: string;
  readonly networks: Map<string, FakeNetwork>;
  readonly containers: Map<string, FakeContainer>;
  /** Images that the engine has. */
  readonly images: Set<string>;
  /** Every call that may change something, such as `POST /containers/create`; ids read as `:id`. */
  readonly changes: string[];
  /** The engine's clock: milliseconds since the epoch. */
  now: () => number;
  /** Answers a call instead of the engine, when it returns something; it may also do something first. */
  intercept: ((call: string) => Response | undefined | Promise<undefined>) | undefined;
  stop(): Promise<void>;
}

/** An answer of the engine in its own form for failures. */
export const refusal = (status: number, message: string) => Response.json({ message }, { status });

export async function startFakeEngine(): Promise<FakeEngine> {
  const folder = await mkdtemp(join(tmpdir(), 'decnet-docker-'));
  const socketPath = join(folder, 'docker.sock');
  const engine: FakeEngine = {
    socketPath,
    networks: new Map(),
    containers: new Map(),
    images: new Set(['decoy:1']),
    changes: [],
    now: Date.now,
    intercept: undefined,
    async stop() {
      await server.stop(true);
      await rm(folder, { recursive: true, force: true });
    },
  };
  const server = Bun.serve({
    unix: socketPath,
    async fetch(request) {
      const { pathname, searchParams } = new URL(request.url);
      const [, version, kind = '', id = '', verb = ''] = pathname.split('/');
      if (version !== 'v1.41') return refusal(400, `client version ${version} is not the one that was agreed on`);
      const named = id === 'create' || id === 'json' || id === '' ? id : ':id';
      const call = `${request.method} /${[kind, named, verb].filter((part) => part !== '').join('/')}`;
      if (request.method !== 'GET') engine.changes.push(call);
      const intercepted = await engine.intercept?.(call);
      if (intercepted !== undefined) return intercepted;
      const text = await request.text();
      const body: unknown = text === '' ? {} : JSON.parse(text);
      const route = ROUTES[call];
      if (route === undefined) return refusal(404, 'page not found');
      return route(engine, { id: decodeURIComponent(id), query: searchParams, body: isJsonObject(body) ? body : {} });
    },
  });
  return engine;
}

interface Call {
  readonly id: string;
  readonly query: URLSearchParams;
  readonly body: JsonObject;
}

const ROUTES: Readonly<Record<string, (engine: FakeEngine, call: Call) => Response>> = {
  'GET /networks': ({ networks }, { query }) =>
    Response.json([...networks.values()].filter((network) => isWanted(network.labels, query)).map(networkOnWire)),
  'POST /networks/create': createNetwork,
  'DELETE /networks/:id': removeNetwork,
  'POST /networks/:id/connect': connect,
  'POST /networks/:id/disconnect': disconnect,
  'GET /containers/json': ({ containers }, { query }) =>
    Response.json(
      [...containers.values()]
        .filter((one) => isWanted(one.labels, query) && (one.running || query.get('all') === 'true'))
        .map((one) => ({
          Id: one.id,
          Names: [`/${one.name}`],
          Image: one.image,
          Labels: one.labels,
          Created: Math.floor(one.createdAt / 1000),
          State: one.running ? 'running' : 'exited',
        })),
    ),
  'POST /containers/create': createContainer,
  'GET /containers/:id/json': inspectContainer,
  'POST /containers/:id/start': (engine, { id }) => {
    const container = engine.containers.get(id);
    if (container === undefined) return refusal(404, `No such container: ${id}`);
    if (container.running) return new Response(null, { status: 304 });
    container.running = true;
    return new Response(null, { status: 204 });
  },
  'DELETE /containers/:id': ({ containers }, { id, query }) => {
    const container = containers.get(id);
    if (container === undefined) return refusal(404, `No such container: ${id}`);
    if (container.running && query.get('force') !== 'true') {
      return refusal(409, 'You cannot remove a running container');
    }
    containers.delete(id);
    return new Response(null, { status: 204 });
  },
};

function networkOnWire({ id, name, subnet, internal, labels, createdAt }: FakeNetwork) {
  const config = { Driver: 'default', Config: [{ Subnet: subnet }] };
  const created = new Date(createdAt).toISOString();
  return { Id: id, Name: name, Created: created, Driver: 'bridge', Internal: internal, IPAM: config, Labels: labels };
}

function createNetwork({ networks, now }: FakeEngine, { body }: Call): Response {
  const name = String(body.Name);
  const subnet = String(at(body, 'IPAM', 'Config', 0, 'Subnet'));
  for (const other of networks.values()) {
    if (other.name === name) return refusal(409, `network with name ${name} already exists`);
    if (other.subnet === subnet) {
      return refusal(403, 'Pool overlaps with other one on this address space');
    }
  }
  const id = hexId();
  networks.set(id, {
    id,
    name,
    subnet,
    internal: body.Internal === true,
    labels: textMap(body.Labels),
    createdAt: now(),
  });
  return Response.json({ Id: id, Warning: '' }, { status: 201 });
}

function removeNetwork({ networks, containers }: FakeEngine, { id }: Call): Response {
  const network = networks.get(id);
  if (network === undefined) return refusal(404, `network ${id} not found`);
  if ([...containers.values()].some(({ addresses }) => addresses.has(id))) {
    return refusal(403, `error while removing network: network ${network.name} id ${id} has active endpoints`);
  }
  networks.delete(id);
  return new Response(null, { status: 204 });
}

function connect({ networks, containers }: FakeEngine, { id, body }: Call): Response {
  const network = findNetwork(networks, id);
  const container = containers.get(String(body.Container));
  if (network === undefined) return refusal(404, `network ${id} not found`);
  if (container === undefined) return refusal(404, `No such container: ${body.Container}`);
  const ip = String(at(body, 'EndpointConfig', 'IPAMConfig', 'IPv4Address'));
  if (container.addresses.has(network.id)) {
    return refusal(403, `endpoint with name ${container.name} already exists in network ${network.name}`);
  }
  if ([...containers.values()].some((other) => other.addresses.get(network.id) === ip)) {
    return refusal(403, 'Address already in use');
  }
  container.addresses.set(network.id, ip);
  return new Response(null, { status: 200 });
}

function disconnect({ networks, containers }: FakeEngine, { id, body }: Call): Response {
  const network = findNetwork(networks, id);
  const container = containers.get(String(body.Container));
  if (network === undefined) return refusal(404, `network ${id} not found`);
  if (container === undefined) return refusal(404, `No such container: ${body.Container}`);
  if (!container.addresses.delete(network.id)) {
    return refusal(403, `container ${container.id} is not connected to network ${network.name}`);
  }
  return new Response(null, { status: 200 });
}

function createContainer({ networks, containers, images, now }: FakeEngine, { query, body }: Call): Response {
  const name = query.get('name') ?? '';
  const image = String(body.Image);
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name)) return refusal(400, `Invalid container name (${name})`);
  if (!images.has(image)) return refusal(404, `No such image: ${image}`);
  for (const other of containers.values()) {
    if (other.name !== name) continue;
    return refusal(409, `Conflict. The container name "/${name}" is already in use by container "${other.id}".`);
  }
  const endpoints = at(body, 'NetworkingConfig', 'EndpointsConfig');
  const addresses = new Map<string, string>();
  for (const [key, config] of Object.entries(isJsonObject(endpoints) ? endpoints : {})) {
    const network = findNetwork(networks, key);
    if (network === undefined) return refusal(404, `network ${key} not found`);
    addresses.set(network.id, String(at(config, 'IPAMConfig', 'IPv4Address')));
  }
  if (addresses.size > 1) return refusal(400, 'Container cannot be connected to network endpoints: more than one');
  const id = hexId();
  const sysctls = at(body, 'HostConfig', 'Sysctls');
  containers.set(id, {
    id,
    name,
    image,
    env: Array.isArray(body.Env) ? body.Env.map(String) : [],
    sysctls: isJsonObject(sysctls) ? sysctls : {},
    labels: textMap(body.Labels),
    addresses,
    createdAt: now(),
    running: false,
  });
  return Response.json({ Id: id, Warnings: [] }, { status: 201 });
}

function inspectContainer({ networks, containers }: FakeEngine, { id }: Call): Response {
  const container = containers.get(id);
  if (container === undefined) return refusal(404, `No such container: ${id}`);
  const attached = [...container.addresses].map(([networkId, ip]) => [
    networks.get(networkId)?.name,
    // As the engine does: what is only configured has no network id and no address yet.
    {
      NetworkID: container.running ? networkId : '',
      IPAMConfig: { IPv4Address: ip },
      IPAddress: container.running ? ip : '',
    },
  ]);
  return Response.json({
    Id: id,
    Name: `/${container.name}`,
    State: { Running: container.running },
    NetworkSettings: { Networks: Object.fromEntries(attached) },
  });
}

/** By id, or by name as the engine allows too. */
function findNetwork(networks: ReadonlyMap<string, FakeNetwork>, key: string): FakeNetwork | undefined {
  return networks.get(key) ?? [...networks.values()].find(({ name }) => name === key);
}

function isWanted(labels: Readonly<Record<string, string>>, query: URLSearchParams): boolean {
  const filters: { label?: string[] } = JSON.parse(query.get('filters') ?? '{}');
  return (filters.label ?? []).every((label) => {
    const [key = '', value] = label.split('=', 2);
    return labels[key] === value;
  });
}

/** What is found along a path into JSON. */
function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>((inner, key) => {
    if (typeof key === 'number') return Array.isArray(inner) ? inner[key] : undefined;
    return isJsonObject(inner) ? inner[key] : undefined;
  }, value);
}

function textMap(value: unknown): Record<string, string> {
  return Object.fromEntries(Object.entries(isJsonObject(value) ? value : {}).map(([key, text]) => [key, String(text)]));
}

/** As the engine's own: 64 hex characters. */
const hexId = () => `${crypto.randomUUID()}${crypto.randomUUID()}`.replaceAll('-', '');
