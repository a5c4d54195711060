import type { JsonObject } from '../../bus/event.ts';
import { ARCHETYPES } from '../../catalog/archetypes.ts';
import { validConfig } from '../../catalog/service-config.ts';
import { KNOWN_SERVICES, serviceNamed } from '../../catalog/services.ts';
import { AppError, describeError } from '../../errors.ts';
import { parseAddress, parseCidr } from '../../topology/addresses.ts';
import { checkedInterval } from '../interval-field.ts';
import { pickServices } from '../rotation.ts';
import { IniError, parseIni } from './ini.ts';

/** A decky that somebody wants in the fleet. */
export interface WantedDecky {
  readonly name: string;
  /** Empty for none. */
  readonly archetype: string;
  readonly services: readonly string[];
  readonly configs: JsonObject;
  readonly mutateInterval: string | null;
  /** `null` for any that is free. */
  readonly ip: string | null;
  /** `null` for that of the archetype. */
  readonly nmapOs: string | null;
}

export interface WantedFleet {
  readonly deckies: readonly WantedDecky[];
  /** CIDR; `null` for the network of this server. */
  readonly network: string | null;
  /** Nobody else's address. */
  readonly gateway: string | null;
}

type Section = ReadonlyMap<string, string>;

/** No fleet may have more, whatever its limit (contract P4.2): an `amount` must not fill the memory. */
export const MAX_FLEET = 500;
const MAX_AMOUNT = 100;
const GENERAL = 'general';
const NAME = /^[a-z0-9-]{1,64}$/;
const MAX_OS = 64;

/**
 * Reads which deckies an INI file asks for (contract P2.4). Everything that it refuses is a `conflict`, as DECNET answers.
 * @param random from 0 to below 1; chooses services for a decky that names none
 * @throws {AppError} `conflict`; `bad_request` for a value that a service does not take
 */
export function wantedFleet(ini: string, random: () => number): WantedFleet {
  const sections = sectionsOf(ini);
  const general = sections.get(GENERAL);
  const deckies: WantedDecky[] = [];
  const configs = new Map<string, [service: string, section: Section][]>();
  for (const [title, section] of sections) {
    if (title === GENERAL) continue;
    const [decky, service] = splitTitle(title);
    if (service === undefined) deckies.push(...deckiesOf(decky, section, MAX_FLEET - deckies.length, random));
    else configs.set(decky, [...(configs.get(decky) ?? []), [service, section]]);
  }
  if (deckies.length === 0) throw refused('the INI names no decky: write a section such as [web-01]');
  const repeated = deckies.find(({ name }, index) => deckies.findIndex((other) => other.name === name) !== index);
  if (repeated !== undefined) throw refused(`${repeated.name} is wanted twice`);
  return { deckies: configured(deckies, configs, sections), ...networkOf(general) };
}

function sectionsOf(ini: string): ReadonlyMap<string, Section> {
  try {
    return parseIni(ini);
  } catch (error) {
    if (error instanceof IniError) throw refused(`the INI cannot be read: ${describeError(error)}`);
    throw error;
  }
}

/** `[web]` asks for a decky, `[web.http]` configures a service of it. */
function splitTitle(title: string): [decky: string, service: string | undefined] {
  const dot = title.lastIndexOf('.');
  const service = title.slice(dot + 1);
  if (dot > 0 && serviceNamed(service) !== undefined) return [title.slice(0, dot), service];
  if (title.startsWith('custom-')) throw refused(`[${title}]: this server runs no services of your own`);
  if (!NAME.test(title)) throw refused(`[${title}]: the name of a decky is 1 to 64 of a-z, 0-9 and -`);
  return [title, undefined];
}

function deckiesOf(title: string, section: Section, room: number, random: () => number): WantedDecky[] {
  const amount = section.get('amount');
  const count = amount === undefined ? 1 : integer(title, 'amount', amount, MAX_AMOUNT);
  const ip = section.get('ip') || null;
  if (ip !== null && parseAddress(ip) === undefined) throw refused(`[${title}]: ${ip} is no IPv4 address`);
  if (ip !== null && amount !== undefined) throw refused(`[${title}]: several deckies cannot share one ip`);
  if (count > room) throw refused(`a fleet has at most ${MAX_FLEET} deckies`);
  return Array.from({ length: count }, (_, index) => {
    const name = amount === undefined ? title : `${title}-${String(index + 1).padStart(2, '0')}`;
    if (!NAME.test(name)) throw refused(`${name}: the name of a decky has at most 64 characters`);
    return { name, ...kindOf(title, section, random), ip, configs: {} };
  });
}

function kindOf(title: string, section: Section, random: () => number) {
  const slug = section.get('archetype') ?? '';
  const archetype = ARCHETYPES.find((known) => known.slug === slug);
  if (slug !== '' && archetype === undefined) throw refused(`[${title}]: there is no archetype ${slug}`);
  const named = (section.get('services') ?? '')
    .split(',')
    .map((service) => service.trim())
    .filter((service) => service !== '');
  const unknown = named.find((service) => !KNOWN_SERVICES.includes(service));
  if (unknown !== undefined) throw refused(`[${title}]: there is no service ${unknown} for deckies`);
  const chosen = named.length > 0 ? [...new Set(named)] : archetype?.services;
  const minutes = section.get('mutate_interval');
  const nmapOs = section.get('nmap_os') || null;
  if (nmapOs !== null && nmapOs.length > MAX_OS) throw refused(`[${title}]: nmap_os has at most ${MAX_OS} characters`);
  return {
    archetype: slug,
    services: chosen ?? pickServices(KNOWN_SERVICES, [], random),
    mutateInterval:
      minutes === undefined ? null : `${integer(title, 'mutate_interval', minutes, Number.MAX_SAFE_INTEGER)}m`,
    nmapOs,
  };
}

function integer(title: string, key: string, text: string, max: number): number {
  const number = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (number >= 1 && number <= max && (key !== 'mutate_interval' || isInterval(text))) return number;
  throw refused(`[${title}]: ${key} must be a whole number from 1${key === 'amount' ? ` to ${max}` : ''}`);
}

function isInterval(minutes: string): boolean {
  try {
    return checkedInterval(`${Number(minutes)}m`, 'mutate_interval') !== '';
  } catch {
    return false;
  }
}

/** Gives each decky, and each of a group, the configurations that were written for it. */
function configured(
  deckies: readonly WantedDecky[],
  configs: ReadonlyMap<string, readonly [service: string, section: Section][]>,
  sections: ReadonlyMap<string, Section>,
): WantedDecky[] {
  const groupOf = ({ name }: WantedDecky) => (sections.has(name) ? name : name.replace(/-\d\d+$/, ''));
  const used = new Set<string>();
  const result = deckies.map((decky) => {
    const own = [...new Set([groupOf(decky), decky.name])].flatMap((title) => {
      if (configs.has(title)) used.add(title);
      return configs.get(title) ?? [];
    });
    const valid = own.map(([name, section]) => {
      const service = serviceNamed(name);
      if (service === undefined || !decky.services.includes(name)) {
        throw refused(`${decky.name} has no service ${name} to configure`);
      }
      return [name, validConfig(service, Object.fromEntries(section), 'text')] as const;
    });
    return { ...decky, configs: Object.fromEntries(valid.filter(([, config]) => Object.keys(config).length > 0)) };
  });
  const stray = [...configs.keys()].find((title) => !used.has(title));
  if (stray !== undefined) throw refused(`a service of ${stray} is configured, which the INI does not ask for`);
  return result;
}

function networkOf(general: Section | undefined): Pick<WantedFleet, 'network' | 'gateway'> {
  const network = general?.get('net') || null;
  const gateway = general?.get('gw') || null;
  if (network !== null && parseCidr(network) === undefined) throw refused(`[general]: ${network} is no IPv4 network`);
  if (gateway !== null && parseAddress(gateway) === undefined) throw refused(`[general]: ${gateway} is no address`);
  return { network, gateway };
}

const refused = (problem: string) => new AppError('conflict', problem);
