import { outsideId } from '../../src/outside/schemas.ts';
import { OUTSIDE_READS, OUTSIDE_WRITES } from '../../src/outside/table.ts';
import {
  ATTACKER,
  liveTopology,
  newAccount,
  newFleetDecky,
  newName,
  newUser,
  newWebhook,
  newWebhookBody,
  PASSWORD,
  pendingTopology,
  setAsideEvent,
  type World,
} from './world.ts';

/** One call of an operation, and the status that it is answered with. */
export interface Call {
  readonly expect: number;
  /** By name; a parameter that is left out is one that nothing has. */
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** By default the admin's. */
  readonly token?: string;
  /** The path without its last slash. */
  readonly isWithoutSlash?: boolean;
}

type Calls = (world: World) => readonly Call[] | Promise<readonly Call[]>;

const NOWHERE = '00000000-0000-4000-8000-000000000000';
const nothing: Call = { expect: 404 };
const badPage: Call = { query: 'limit=0', expect: 422 };
const only =
  (expect: number, call: Omit<Call, 'expect'> = {}): Calls =>
  () => [{ ...call, expect }];

/** Calls that need a pending topology, given its id and the whole of it. */
const onPending =
  (
    calls: (id: string, detail: Awaited<ReturnType<typeof pendingTopology>>, world: World) => Promise<readonly Call[]>,
  ): Calls =>
  async (world) => {
    const detail = await pendingTopology(world);
    return calls(detail.topology.id, detail, world);
  };

type Params = Readonly<Record<string, string>>;
/** How a decky is named in a path, and how one is that is not there. */
interface Named {
  readonly params: Params;
  readonly missing: Params;
}

/** Calls for a service of a decky that runs with ssh alone. */
const ofTopology =
  (calls: (named: Named) => readonly Call[]): Calls =>
  async (world) => {
    const { topology, deckies } = await liveTopology(world);
    const params = { id: topology.id, decky: deckies[0].name, service: 'ssh' };
    return calls({ params, missing: { ...params, decky: 'nobody' } });
  };

/** The same in the fleet. */
const ofFleet =
  (calls: (named: Named) => readonly Call[]): Calls =>
  async (world) => {
    const params = { name: await newFleetDecky(world), service: 'ssh' };
    return calls({ params, missing: { ...params, name: 'nobody' } });
  };

const stale = 'expected_version=999';
const addedService = ({ params, missing }: Named): readonly Call[] => [
  { params, body: { name: 'http', config: { response_code: 'oops' } }, expect: 400 },
  { params, body: { name: 'http', config: { response_code: 404 } }, expect: 201 },
  { params, body: { name: 'http' }, expect: 409 },
  { params, body: { name: 'teapot' }, expect: 422 },
  { params, body: {}, expect: 400 },
  { params: missing, body: { name: 'http' }, expect: 404 },
];
const removedService =
  (last: number) =>
  ({ params, missing }: Named): readonly Call[] => [
    { params: { ...params, service: 'ftp' }, expect: 409 },
    { params: { ...params, service: 'F T P' }, expect: 422 },
    { params: missing, expect: 404 },
    { params, expect: last },
  ];
const configuredService =
  (done: number) =>
  ({ params, missing }: Named): readonly Call[] => [
    { params, body: { config: { user: 'admin' } }, expect: done },
    { params, body: {}, expect: done },
    { params: { ...params, service: 'http' }, body: { config: { fake_app: 'none such' } }, expect: 400 },
    { params, body: { config: [] }, expect: 422 },
    { params: { ...params, service: 'ftp' }, body: {}, expect: 409 },
    { params: missing, body: {}, expect: 404 },
  ];

const rule = { ports: [22, 80], delay_ms: 1000 };
const TARPIT = {
  read: ({ params, missing }: Named): readonly Call[] => [
    { params, expect: 404 },
    { params: missing, expect: 404 },
    { params: malformed(params), expect: 422 },
  ],
  set: ({ params, missing }: Named): readonly Call[] => [
    { params, body: rule, expect: 201 },
    { params, body: rule, expect: 409 },
    { params, body: { ...rule, ports: [] }, expect: 422 },
    { params, body: { ports: [22] }, expect: 400 },
    { params: missing, body: rule, expect: 404 },
  ],
  remove: ({ params, missing }: Named): readonly Call[] => [
    { params, expect: 200 },
    { params: missing, expect: 404 },
    { params: malformed(params), expect: 422 },
  ],
};
const malformed = (params: Params): Params => ({ ...params, decky: 'NO', name: 'NO' });

/** Calls of what DECNET's dashboard asks for outside of the plane: as the table says, and where a path has a form, one without. */
const FORMED: Readonly<Record<string, { readonly good: Params; readonly bad: Params }>> = {
  '/transcripts/:decky/:sid': { good: {}, bad: { sid: 'a.b' } },
  '/artifacts/:decky/:stored': { good: { stored: '2026-11-21T12:00:00Z_0123456789ab_x.bin' }, bad: { stored: 'x' } },
};
const OUTSIDE_CALLS: Readonly<Record<string, Calls>> = Object.fromEntries([
  ...OUTSIDE_READS.map(({ path, shape, numbers = {} }): [string, Calls] => {
    const { good: params = {}, bad } = FORMED[path] ?? {};
    const checked = [...(shape.is === 'page' ? ['limit', 'offset'] : []), ...Object.keys(numbers)];
    return [
      outsideId('GET', path),
      () => [
        { params, expect: shape.is === 'missing' ? 404 : 200 },
        ...(bad === undefined ? [] : [{ params: bad, expect: 400 }]),
        ...checked.map((name) => ({ params, query: `${name}=-1`, expect: 422 })),
      ],
    ];
  }),
  ...OUTSIDE_WRITES.map(({ method, path }): [string, Calls] => [outsideId(method, path), only(501)]),
]);

const persona = { name: 'Ada', email: 'ada@example.org', role: 'clerk' };
const onAttacker: Calls = async ({ api }) => {
  const [{ uuid: id }] = (await api('GET', '/attackers')).data;
  return [{ params: { id }, expect: 200 }, nothing];
};
const onCampaign = async ({ plane: { database } }: World): Promise<readonly Call[]> => {
  const [uuid, at] = [newName(), new Date().toISOString()];
  await database.db.insertInto('campaigns').values({ uuid, created_at: at, updated_at: at }).execute();
  return [{ params: { uuid }, expect: 200 }, nothing];
};
const withOnce: Call = { query: 'once=1', expect: 200 };
const badStream: Call = { query: 'once=perhaps', expect: 422 };

/**
 * At least one call of every operation of the document, by its id: a new route has none, and the test says so. What every
 * operation of a kind refuses (no session, a viewer, a body of another type or none) is called without being listed.
 */
export const CALLS: Readonly<Record<string, Calls>> = {
  login: () => [
    { body: { username: 'admin-user', password: PASSWORD }, expect: 200 },
    { body: { username: 'admin-user', password: 'wrong' }, expect: 401 },
    { body: { username: 'admin-user' }, expect: 400 },
    { body: { username: 'admin-user', password: 'x'.repeat(73) }, expect: 422 },
  ],
  changePassword: async (world) => {
    const { token } = await newUser(world);
    const new_password = 'another-long-word';
    return [
      { token, body: { old_password: 'wrong', new_password }, expect: 401 },
      { token, body: { old_password: PASSWORD, new_password: 'short' }, expect: 400 },
      { token, body: { old_password: PASSWORD, new_password: 'x'.repeat(73) }, expect: 422 },
      { token, body: { old_password: PASSWORD, new_password }, expect: 200 },
    ];
  },
  logout: async (world) => [{ token: (await newUser(world)).token, expect: 200 }],
  createStreamTicket: only(200),
  readMe: async (world) => {
    const account = await newAccount(world);
    return [{ expect: 200 }, { token: world.viewer, expect: 200 }, { token: account.secret, expect: 200 }];
  },
  readConfig: ({ viewer }) => [{ expect: 200 }, { token: viewer, expect: 200 }],
  createUser: () => {
    const body = { username: newName(), password: 'a-long-enough-word', role: 'viewer' };
    return [
      { body, expect: 200 },
      { body, expect: 409 },
      { body: { ...body, role: 'king' }, expect: 422 },
    ];
  },
  deleteUser: async (world) => {
    const params = { uuid: (await newUser(world)).uuid };
    return [
      { params, expect: 200 },
      { params, expect: 404 },
    ];
  },
  setUserRole: async (world) => {
    const params = { uuid: (await newUser(world)).uuid };
    return [
      { params, body: { role: 'admin' }, expect: 200 },
      { params, body: { role: 'king' }, expect: 422 },
      { body: { role: 'admin' }, expect: 404 },
    ];
  },
  resetUserPassword: async (world) => {
    const params = { uuid: (await newUser(world)).uuid };
    const body = { new_password: 'a-long-enough-word' };
    return [
      { params, body, expect: 200 },
      { params, body: { new_password: 'x'.repeat(73) }, expect: 422 },
      { body, expect: 404 },
    ];
  },

  listServiceAccounts: async (world) => {
    const { uuid } = await newAccount(world);
    await world.api('DELETE', `/service-accounts/${uuid}`);
    return [{ expect: 200 }];
  },
  readServiceAccount: async (world) => [{ params: { uuid: (await newAccount(world)).uuid }, expect: 200 }, nothing],
  createServiceAccount: () => {
    const body = { name: newName(), publish: ['attacker.>'], subscribe: [], expires_at: null };
    return [
      { body, expect: 201 },
      { body, expect: 409 },
      { body: { name: newName() }, expect: 422 },
      { body: { ...body, name: newName(), publish: ['a..b'] }, expect: 422 },
    ];
  },
  rotateServiceAccount: async (world) => {
    const params = { uuid: (await newAccount(world)).uuid };
    return [
      { params, body: { grace_seconds: 60 }, expect: 200 },
      { params, body: { grace_seconds: -1 }, expect: 422 },
      { body: {}, expect: 404 },
    ];
  },
  changeServiceAccount: async (world) => {
    const params = { uuid: (await newAccount(world)).uuid };
    return [
      { params, body: { publish: ['decky.>'] }, expect: 200 },
      { params, body: { publish: ['a..b'] }, expect: 422 },
      { body: {}, expect: 404 },
    ];
  },
  revokeServiceAccount: async (world) => [{ params: { uuid: (await newAccount(world)).uuid }, expect: 204 }, nothing],

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
      { params: { id }, body, expect: 409 },
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

  listFleet: only(200),
  listDeckyLifecycle: async ({ api }) => {
    const { lifecycle_ids } = await api('POST', '/deckies/edge-dns/mutate');
    return [
      { query: `ids=${lifecycle_ids[0]}&ids=nobody`, expect: 200 },
      { expect: 400 },
      { query: 'ids=x&'.repeat(201), expect: 422 },
    ];
  },
  rotateDecky: () => [
    { params: { name: 'edge-cache' }, expect: 202 },
    { params: { name: 'nobody' }, expect: 404 },
    { params: { name: 'NO' }, expect: 422 },
  ],
  setDeckyMutateInterval: () => [
    { params: { name: 'edge-cache' }, body: { mutate_interval: '30m' }, expect: 200 },
    { params: { name: 'edge-cache' }, body: { mutate_interval: 30 }, expect: 200 },
    { params: { name: 'edge-cache' }, body: { mutate_interval: 'often' }, expect: 422 },
    { params: { name: 'nobody' }, body: { mutate_interval: null }, expect: 404 },
  ],
  readDeploymentMode: only(200),
  deployFleet: () => {
    const deploy = (name: string) => ({ ini_content: `[${name}]\nservices = ssh\nip = 192.168.61.7` });
    const name = newName();
    return [
      { body: deploy(name), expect: 202 },
      { body: deploy(name), expect: 409 },
      { body: {}, expect: 400 },
      { body: { ...deploy(newName()), colour: 'red' }, expect: 400 },
      { body: { ...deploy(newName()), replace_fleet: 'perhaps' }, expect: 422 },
    ];
  },
  removeFleetDecky: async (world) => {
    const params = { name: await newFleetDecky(world) };
    return [
      { params, expect: 204 },
      { params, expect: 404 },
      { params: { name: 'NO' }, expect: 422 },
    ];
  },
  addDeckyService: ofTopology(addedService),
  removeDeckyService: ofTopology(removedService(200)),
  configureDeckyService: ofTopology(configuredService(200)),
  applyDeckyServiceConfig: ofTopology(configuredService(201)),
  addFleetDeckyService: ofFleet(addedService),
  // One that has none left could not be read any more.
  removeFleetDeckyService: async (world) => {
    const name = await newFleetDecky(world);
    await world.api('POST', `/deckies/${name}/services`, { name: 'http' });
    const params = { name, service: 'ssh' };
    return removedService(200)({ params, missing: { ...params, name: 'nobody' } });
  },
  configureFleetDeckyService: ofFleet(configuredService(200)),
  applyFleetDeckyServiceConfig: ofFleet(configuredService(201)),

  readDeckyTarpit: async (world) => {
    const { topology, deckies } = await pendingTopology(world);
    await world.api('POST', `/topologies/${topology.id}/deckies/${deckies[0].name}/tarpit`, rule);
    const params = { id: topology.id, decky: deckies[0].name };
    return [{ params, expect: 200 }, ...(await ofTopology(TARPIT.read)(world))];
  },
  setDeckyTarpit: ofTopology(TARPIT.set),
  removeDeckyTarpit: ofTopology(TARPIT.remove),
  readFleetDeckyTarpit: async (world) => {
    const name = await newFleetDecky(world);
    await world.api('POST', `/deckies/${name}/tarpit`, rule);
    return [{ params: { name }, expect: 200 }, ...(await ofFleet(TARPIT.read)(world))];
  },
  setFleetDeckyTarpit: ofFleet(TARPIT.set),
  removeFleetDeckyTarpit: ofFleet(TARPIT.remove),

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

  setDeploymentLimit: () => [
    { body: { deployment_limit: 400 }, expect: 200 },
    { body: { deployment_limit: 501 }, expect: 422 },
    { body: {}, expect: 400 },
  ],
  setMutationInterval: () => [
    { body: { global_mutation_interval: '30m' }, expect: 200 },
    { body: { global_mutation_interval: 'often' }, expect: 422 },
    { body: {}, expect: 400 },
  ],
  purgeData: only(501),

  listWorkers: only(200),
  startAllWorkers: only(200),
  stopWorker: () => [{ params: { name: 'prober' }, expect: 202 }, nothing],
  startWorker: () => [
    { params: { name: 'prober' }, expect: 202 },
    { params: { name: 'ttp' }, expect: 502 },
    { params: { name: 'mutator' }, expect: 503 },
    nothing,
  ],

  readStats: only(200),
  listLogs: () => [
    { expect: 200 },
    { query: 'search=service:ssh&start_time=2020-01-01 00:00:00&limit=1', expect: 200 },
    { query: 'end_time=yesterday', expect: 422 },
    badPage,
  ],
  readLogHistogram: () => [
    { query: 'interval_minutes=60', expect: 200 },
    { query: 'interval_minutes=0', expect: 422 },
  ],

  ...OUTSIDE_CALLS,

  listIdentities: () => [{ expect: 200 }, badPage],
  readIdentity: async ({ api }) => {
    const { data } = await api('GET', '/identities');
    return [...data.map(({ uuid }: { uuid: string }) => ({ params: { uuid }, expect: 200 })), nothing];
  },
  listIdentityObservations: async ({ api }) => {
    const { data } = await api('GET', '/identities');
    const params = { uuid: data[0].uuid };
    return [{ params, expect: 200 }, { params, ...badPage }, nothing];
  },

  listAttackers: () => [{ expect: 200 }, badPage],
  exportAttackersStix: only(200),
  exportAttackersMisp: only(200),
  readAttacker: onAttacker,
  readAttribution: onAttacker,
  listAttackerCommands: onAttacker,
  listAttackerArtifacts: onAttacker,
  listAttackerTranscripts: onAttacker,
  listAttackerSmtpTargets: onAttacker,
  listAttackerMail: onAttacker,
  readAttackerIntel: async (world) => {
    const { plane, api } = world;
    const [{ uuid, ip }] = (await api('GET', '/attackers')).data;
    await plane.database.db
      .insertInto('attacker_uuids')
      .values({ uuid, ip, identity_uuid: null })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    await plane.database.db
      .insertInto('attacker_intel')
      .values({ attacker_uuid: uuid, intel: '{"aggregate_verdict":"benign"}', updated_at: new Date().toISOString() })
      .execute();
    return onAttacker(world);
  },
  exportAttackerStix: onAttacker,
  exportAttackerMisp: onAttacker,

  listCampaigns: () => [{ expect: 200 }, badPage],
  readCampaign: onCampaign,
  listCampaignIdentities: async (world) => {
    const calls = await onCampaign(world);
    return [...calls, ...calls.slice(0, 1).map((found) => ({ ...found, ...badPage }))];
  },

  listOrchestratorEvents: () => [{ expect: 200 }, { query: 'kind=email', expect: 200 }, badPage],
  countOrchestratorFailures: () => [{ query: 'success=false', expect: 200 }, { expect: 422 }],

  publishEvent: () => {
    const body = { topic: 'attacker.seen', type: 'seen', payload: { ip: '192.0.2.1' }, id: newName() };
    return [
      { body, expect: 202 },
      { body, expect: 202 },
      { body: { ...body, topic: 'attacker.lost' }, expect: 409 },
      { body: { payload: {} }, expect: 400 },
      { body: { ...body, topic: 'a..b' }, expect: 422 },
      { body: [{ ...body, id: newName() }], expect: 202 },
      {
        body: [
          { ...body, id: newName() },
          { ...body, topic: 'a..b' },
        ],
        expect: 207,
      },
    ];
  },
  listSetAsideEvents: async (world) => {
    await setAsideEvent(world);
    return [{ expect: 200 }, badPage];
  },
  retrySetAsideEvent: async (world) => [{ params: { id: await setAsideEvent(world) }, expect: 202 }, nothing],
  discardSetAsideEvent: async (world) => [{ params: { id: await setAsideEvent(world) }, expect: 204 }, nothing],

  streamTopology: onPending(async (id) => [
    { params: { id }, ...withOnce },
    { params: { id }, ...withOnce, headers: { 'last-event-id': 'nonsense' } },
    { params: { id }, ...badStream },
    nothing,
  ]),
  streamIdentity: () => [withOnce, badStream],
  streamCampaign: () => [withOnce, badStream],
  streamOrchestrator: () => [withOnce, badStream],
  streamAttacker: () => [
    { params: { id: ATTACKER }, ...withOnce },
    { params: { id: ATTACKER }, ...badStream },
    { ...withOnce, expect: 404 },
  ],
  streamLogs: () => [
    { query: 'once=1&search=service:ssh&lastEventId=1', expect: 200 },
    { query: 'start_time=yesterday', expect: 422 },
    badStream,
  ],
  streamEvents: () => [
    { query: 'once=1&topics=attacker.>', expect: 200 },
    { query: 'topics=a..b', expect: 422 },
  ],
  cutStreams: only(200),
  openWebSocket: only(426),

  readLiveness: only(200),
  readReadiness: only(200),

  listWebhooks: async (world) => {
    await newWebhook(world);
    return [{ expect: 200 }, { isWithoutSlash: true, expect: 307 }];
  },
  createWebhook: () => {
    const body = newWebhookBody();
    return [
      { body, expect: 201 },
      { body, expect: 409 },
      { body, isWithoutSlash: true, expect: 307 },
      { body: { ...newWebhookBody(), topic_patterns: [] }, expect: 400 },
      { body: { ...newWebhookBody(), url: 'ftp://192.0.2.1/' }, expect: 422 },
    ];
  },
  getWebhook: onWebhook(({ uuid }) => [{ params: { uuid }, expect: 200 }, nothing]),
  changeWebhook: onWebhook(async ({ uuid }, world) => {
    const { name } = await world.api('GET', `/webhooks/${(await newWebhook(world)).uuid}`);
    return [
      { params: { uuid }, body: { template: { preset: 'slack' } }, expect: 200 },
      { params: { uuid }, body: { name }, expect: 409 },
      { body: { enabled: false }, expect: 404 },
      { params: { uuid }, body: { topic_patterns: [] }, expect: 400 },
      { params: { uuid }, body: { concurrency: 99 }, expect: 422 },
    ];
  }),
  deleteWebhook: onWebhook(({ uuid }) => [
    { params: { uuid }, expect: 200 },
    { params: { uuid }, expect: 404 },
  ]),
  rotateWebhookSecret: onWebhook(({ uuid }) => [
    { params: { uuid }, expect: 200 },
    { params: { uuid }, body: { grace_seconds: 60 }, expect: 200 },
    { params: { uuid }, body: { secret: 'short' }, expect: 400 },
    { params: { uuid }, body: { grace_seconds: -1 }, expect: 422 },
    nothing,
  ]),
  testWebhook: onWebhook(({ uuid }) => [{ params: { uuid }, expect: 200 }, nothing]),
  previewWebhook: onWebhook(({ uuid }) => [
    { params: { uuid }, expect: 200 },
    { params: { uuid }, body: { event_id: 1 }, expect: 400 },
    { params: { uuid }, body: { template: { text: '{{' } }, expect: 422 },
    nothing,
  ]),
  reencryptWebhookSecrets: only(200),
  listWebhookDeliveries: onWebhook(({ uuid }) => [
    { params: { uuid }, query: 'state=dead', expect: 200 },
    { ...badPage, params: { uuid } },
    nothing,
  ]),
  getWebhookDelivery: onWebhook((params) => [
    { params, expect: 200 },
    { params: { ...params, seq: '1.5' }, expect: 422 },
    { params: { ...params, seq: '999999' }, expect: 404 },
  ]),
  redeliverWebhookDeliveries: onWebhook(({ uuid, seq }) => deadLetters(uuid, seq)),
  dropWebhookDeliveries: onWebhook(({ uuid, seq }) => deadLetters(uuid, seq)),
};

function deadLetters(uuid: string, seq: string): Call[] {
  return [
    { params: { uuid }, body: { seqs: [Number(seq)] }, expect: 200 },
    { params: { uuid }, body: { seqs: [] }, expect: 422 },
    { body: { all: true }, expect: 404 },
  ];
}

/** Calls for a webhook that has a dead letter. */
function onWebhook(
  calls: (ids: { uuid: string; seq: string }, world: World) => readonly Call[] | Promise<readonly Call[]>,
): Calls {
  return async (world) => calls(await newWebhook(world), world);
}
