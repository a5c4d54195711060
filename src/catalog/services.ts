import { FIELDS, type ServiceField } from './service-fields.ts';

/** A service that a decky can pretend to be. */
export interface Service {
  readonly name: string;
  /** Where it listens unless it is configured otherwise. */
  readonly ports: readonly number[];
  /** Run once for a whole fleet, never by a decky. */
  readonly fleet_singleton: boolean;
  readonly fields: readonly ServiceField[];
}

/** Every service of contract §5.6 and P2.3, by name. */
const PORTS: Readonly<Record<string, readonly number[]>> = {
  conpot: [502, 161, 80],
  dns: [53],
  docker_api: [2375, 2376],
  elasticsearch: [9200],
  ftp: [21],
  http: [80, 443],
  https: [443],
  imap: [143, 993],
  k8s: [6443, 8080],
  ldap: [389, 636],
  llmnr: [5355, 5353],
  mongodb: [27017],
  mqtt: [1883],
  mssql: [1433],
  mysql: [3306],
  pop3: [110, 995],
  postgres: [5432],
  rdp: [3389],
  redis: [6379],
  sip: [5060],
  smb: [445, 139],
  smtp: [25, 587],
  smtp_relay: [25, 587],
  sniffer: [],
  snmp: [161],
  ssh: [22],
  telnet: [23],
  tftp: [69],
  vnc: [5900],
};

export const FLEET_SINGLETONS: readonly string[] = ['sniffer'];

const SERVICES: ReadonlyMap<string, Service> = new Map(
  Object.entries(PORTS).map(([name, ports]) => {
    const fleet_singleton = FLEET_SINGLETONS.includes(name);
    return [name, { name, ports, fleet_singleton, fields: FIELDS[name] ?? [] }];
  }),
);

/** The names of what a decky may be given. */
export const KNOWN_SERVICES: readonly string[] = [...SERVICES.values()]
  .filter((service) => !service.fleet_singleton)
  .map(({ name }) => name);

/** @returns `undefined` for a service that nobody knows */
export const serviceNamed = (name: string): Service | undefined => SERVICES.get(name);
