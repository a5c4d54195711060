import { liveTopology, newFleetDecky, newName, pendingTopology } from '../world.ts';
import { type Call, type Calls, only, type Params } from './call.ts';

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

const addedService = ({ params, missing }: Named): readonly Call[] => [
  { params, body: { name: 'http', config: { response_code: 'oops' } }, expect: 400 },
  { params, body: { name: 'http', config: { response_code: 404 } }, expect: 201 },
  { params, body: { name: 'http' }, expect: 409 },
  { params, body: { name: 'teapot' }, expect: 422 },
  { params, body: {}, expect: 400 },
  { params: missing, body: { name: 'http' }, expect: 404 },
];
const removedService = ({ params, missing }: Named): readonly Call[] => [
  { params: { ...params, service: 'ftp' }, expect: 409 },
  { params: { ...params, service: 'F T P' }, expect: 422 },
  { params: missing, expect: 404 },
  { params, expect: 200 },
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

/** The fleet, services and tarpits of deckies. */
export const FLEET: Readonly<Record<string, Calls>> = {
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
  removeDeckyService: ofTopology(removedService),
  configureDeckyService: ofTopology(configuredService(200)),
  applyDeckyServiceConfig: ofTopology(configuredService(201)),
  addFleetDeckyService: ofFleet(addedService),
  // One that has none left could not be read any more.
  removeFleetDeckyService: async (world) => {
    const name = await newFleetDecky(world);
    await world.api('POST', `/deckies/${name}/services`, { name: 'http' });
    const params = { name, service: 'ssh' };
    return removedService({ params, missing: { ...params, name: 'nobody' } });
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
};
