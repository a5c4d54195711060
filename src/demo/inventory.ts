/** Names every demonstration row, so that each start computes the same ids (RFC 9562, UUID version 5). */
const NAMESPACE = '5d3c1f0e-7a52-4c55-9f0b-2e1c6a4f8d90';

/** The id of a demonstration row, the same on every start. */
export function demoId(name: string): string {
  return Bun.randomUUIDv5(name, NAMESPACE);
}

export interface DemoLan {
  readonly name: string;
  /** The first three bytes of a /24. */
  readonly network: string;
}

export interface DemoDecky {
  readonly name: string;
  readonly archetype: string;
  readonly services: readonly string[];
  /** LAN names: the home first, then those that the decky bridges to. */
  readonly lans: readonly [home: string, ...bridged: string[]];
}

export interface DemoTopology {
  readonly name: string;
  readonly status: 'active' | 'degraded';
  /** The first is the DMZ. */
  readonly lans: readonly DemoLan[];
  /** The first is the gateway, which forwards between its LANs. */
  readonly deckies: readonly DemoDecky[];
}

export const DEMO_TOPOLOGIES: readonly DemoTopology[] = [
  {
    name: 'harbour-office',
    status: 'active',
    lans: [
      { name: 'dmz', network: '10.20.0' },
      { name: 'office', network: '10.20.1' },
      { name: 'servers', network: '10.20.2' },
    ],
    deckies: [
      { name: 'harbour-gateway', archetype: 'deaddeck', services: ['ssh'], lans: ['dmz', 'office'] },
      { name: 'web-front', archetype: 'web-server', services: ['http', 'https'], lans: ['dmz'] },
      { name: 'mail-relay', archetype: 'mail-server', services: ['smtp', 'imap'], lans: ['dmz', 'servers'] },
      { name: 'payroll-pc', archetype: 'workstation', services: ['rdp', 'smb'], lans: ['office'] },
      { name: 'file-share', archetype: 'file-server', services: ['smb', 'ftp'], lans: ['servers'] },
      { name: 'orders-db', archetype: 'database', services: ['postgres', 'ssh'], lans: ['servers'] },
    ],
  },
  {
    name: 'north-plant',
    status: 'active',
    lans: [
      { name: 'dmz', network: '10.30.0' },
      { name: 'control', network: '10.30.1' },
    ],
    deckies: [
      { name: 'plant-gateway', archetype: 'deaddeck', services: ['ssh'], lans: ['dmz', 'control'] },
      { name: 'hmi-panel', archetype: 'hmi', services: ['http', 'vnc'], lans: ['control'] },
      { name: 'plc-line-1', archetype: 'industrial', services: ['conpot'], lans: ['control'] },
      { name: 'historian', archetype: 'database', services: ['mssql'], lans: ['control'] },
    ],
  },
  {
    name: 'field-clinic',
    status: 'degraded',
    lans: [
      { name: 'dmz', network: '10.40.0' },
      { name: 'wards', network: '10.40.1' },
      { name: 'lab', network: '10.40.2' },
      { name: 'voice', network: '10.40.3' },
    ],
    deckies: [
      { name: 'clinic-gateway', archetype: 'deaddeck', services: ['ssh'], lans: ['dmz', 'wards'] },
      { name: 'records-api', archetype: 'web-server', services: ['https', 'redis'], lans: ['dmz', 'lab'] },
      { name: 'ward-terminal', archetype: 'workstation', services: ['rdp'], lans: ['wards'] },
      { name: 'lab-import', archetype: 'file-server', services: ['ftp', 'mysql'], lans: ['lab'] },
      { name: 'pbx', archetype: 'voip', services: ['sip', 'telnet'], lans: ['voice'] },
    ],
  },
];

/** The id of a demonstration topology. */
export function demoTopologyId(topology: DemoTopology): string {
  return demoId(`topology/${topology.name}`);
}

/** Where a decky answers: LAN name → address, its home first. @param index the decky's place in its topology */
export function demoAddresses(topology: DemoTopology, decky: DemoDecky, index: number): Record<string, string> {
  const networks = new Map(topology.lans.map(({ name, network }) => [name, network]));
  return Object.fromEntries(decky.lans.map((lan) => [lan, `${networks.get(lan)}.${10 + index}`]));
}

/** Deckies outside of any topology, for `decky.<host_uuid:name>.state`. */
export const DEMO_FLEET = {
  hostUuid: demoId('host/edge'),
  names: ['edge-cache', 'edge-mqtt', 'edge-dns'],
} as const;
