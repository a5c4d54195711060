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
