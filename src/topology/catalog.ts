/** A service that a decky can pretend to be. */
export interface Service {
  readonly name: string;
  /** Where it listens unless it is configured otherwise. */
  readonly port: number;
  readonly transport: 'tcp' | 'udp';
}

const tcp = (name: string, port: number): Service => ({ name, port, transport: 'tcp' });
const udp = (name: string, port: number): Service => ({ name, port, transport: 'udp' });

/** Every service of contract §5.6, by name; ports are those that IANA registers, or the product's own default. */
export const SERVICES: readonly Service[] = [
  tcp('conpot', 502),
  udp('dns', 53),
  tcp('docker_api', 2375),
  tcp('elasticsearch', 9200),
  tcp('ftp', 21),
  tcp('http', 80),
  tcp('https', 443),
  tcp('imap', 143),
  tcp('k8s', 6443),
  tcp('ldap', 389),
  udp('llmnr', 5355),
  tcp('mongodb', 27017),
  tcp('mqtt', 1883),
  tcp('mssql', 1433),
  tcp('mysql', 3306),
  tcp('pop3', 110),
  tcp('postgres', 5432),
  tcp('rdp', 3389),
  tcp('redis', 6379),
  udp('sip', 5060),
  tcp('smb', 445),
  tcp('smtp', 25),
  tcp('smtp_relay', 587),
  udp('snmp', 161),
  tcp('ssh', 22),
  tcp('telnet', 23),
  udp('tftp', 69),
  tcp('vnc', 5900),
];

/** The names of {@link SERVICES}: what a decky may be given. */
export const KNOWN_SERVICES: readonly string[] = SERVICES.map(({ name }) => name);

/** Run once for a whole fleet, never by a decky. */
export const FLEET_SINGLETONS: readonly string[] = ['sniffer'];

/** What a decky poses as, with the services that make it credible. */
export interface Archetype {
  readonly slug: string;
  readonly display_name: string;
  readonly description: string;
  readonly services: readonly string[];
  /** Linux distributions whose image suits it, the best first. */
  readonly preferred_distros: readonly string[];
  /** The family of operating systems that a scanner should see. */
  readonly nmap_os: 'linux' | 'windows' | 'embedded';
}

const linux = (slug: string, display_name: string, description: string, services: readonly string[]): Archetype => ({
  slug,
  display_name,
  description,
  services,
  preferred_distros: ['debian', 'ubuntu'],
  nmap_os: 'linux',
});
const windows = (...args: Parameters<typeof linux>): Archetype => ({ ...linux(...args), nmap_os: 'windows' });
const embedded = (...args: Parameters<typeof linux>): Archetype => ({
  ...linux(...args),
  preferred_distros: ['alpine', 'debian'],
  nmap_os: 'embedded',
});

export const ARCHETYPES: readonly Archetype[] = [
  linux('container-host', 'Container host', 'Runs containers and leaves its API open', ['docker_api', 'ssh']),
  linux('database', 'Database server', 'Keeps the records somebody would like to have', ['mysql', 'postgres', 'ssh']),
  linux('deaddeck', 'Dead deck', 'A bare host: nothing but a shell to knock at', ['ssh']),
  windows('directory', 'Directory server', 'Knows every account of the office', ['dns', 'ldap', 'smb']),
  linux('file-server', 'File server', 'Shares and drop folders', ['ftp', 'smb', 'ssh']),
  embedded('industrial', 'Industrial controller', 'Moves valves and motors', ['conpot', 'snmp']),
  embedded('iot-hub', 'IoT hub', 'Collects what the sensors of a building say', ['mqtt', 'telnet']),
  linux('mail-server', 'Mail server', 'Takes, keeps and hands out mail', ['imap', 'pop3', 'smtp']),
  embedded('network-device', 'Network device', 'A switch or router with its old protocols on', [
    'snmp',
    'telnet',
    'tftp',
  ]),
  linux('search-node', 'Search node', 'An index that answers without asking who calls', ['elasticsearch', 'ssh']),
  embedded('voip', 'Telephone exchange', 'Connects calls and shows a web page', ['http', 'sip']),
  linux('web-server', 'Web server', 'A site and the shell of whoever maintains it', ['http', 'https', 'ssh']),
  windows('workstation', 'Workstation', 'Somebody works here', ['llmnr', 'rdp', 'smb']),
];

/**
 * How a service can be configured: what a form asks for, one field each.
 * @returns `undefined` for a service that is not known
 */
export function serviceSchema(name: string) {
  const service = SERVICES.find((known) => known.name === name);
  if (service === undefined) return undefined;
  const { port, transport } = service;
  return {
    name,
    fields: [
      { key: 'port', label: 'Port', type: 'int', default: port, help: `The ${transport} port that it listens on` },
      { key: 'banner', label: 'Banner', type: 'string', default: '', help: 'What it says of itself to a client' },
    ],
  };
}
