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
  readonly name: string;
  readonly services: readonly string[];
}

export const ARCHETYPES: readonly Archetype[] = [
  { name: 'container-host', services: ['docker_api', 'ssh'] },
  { name: 'database', services: ['mysql', 'postgres', 'ssh'] },
  { name: 'deaddeck', services: ['ssh'] },
  { name: 'directory', services: ['dns', 'ldap', 'smb'] },
  { name: 'file-server', services: ['ftp', 'smb', 'ssh'] },
  { name: 'industrial', services: ['conpot', 'snmp'] },
  { name: 'iot-hub', services: ['mqtt', 'telnet'] },
  { name: 'mail-server', services: ['imap', 'pop3', 'smtp'] },
  { name: 'network-device', services: ['snmp', 'telnet', 'tftp'] },
  { name: 'search-node', services: ['elasticsearch', 'ssh'] },
  { name: 'voip', services: ['http', 'sip'] },
  { name: 'web-server', services: ['http', 'https', 'ssh'] },
  { name: 'workstation', services: ['llmnr', 'rdp', 'smb'] },
];

/**
 * How a service can be configured, as JSON Schema (draft 2020-12).
 * @returns `undefined` for a service that is not known
 */
export function serviceSchema(name: string) {
  const service = SERVICES.find((known) => known.name === name);
  if (service === undefined) return undefined;
  return {
    name,
    transport: service.transport,
    schema: {
      type: 'object',
      properties: {
        port: { type: 'integer', minimum: 1, maximum: 65_535, default: service.port, title: 'Port' },
        banner: { type: 'string', maxLength: 512, title: 'What it says of itself to a client' },
      },
      additionalProperties: true,
    },
  };
}
