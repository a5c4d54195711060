import { isJsonObject } from '../bus/event.ts';
import { KNOWN_SERVICES } from '../catalog/services.ts';
import { contains, overlaps, parseAddress, parseCidr, type Subnet } from './addresses.ts';
import { addressesOf, type DeckyState, type TopologyState } from './state.ts';

/** What must hold of a live topology after every operation (contract §5.6). The rules of its shape hold at deploy only. */
export type InvariantCode =
  | 'LAN_NAME_DUP'
  | 'DECKY_NAME_DUP'
  | 'IP_UNKNOWN_LAN'
  | 'IP_OUT_OF_SUBNET'
  | 'IP_MALFORMED'
  | 'IP_COLLISION'
  | 'SUBNET_MALFORMED'
  | 'SUBNET_OVERLAP'
  | 'UNKNOWN_SERVICE'
  | 'SERVICE_CFG_UNDECLARED';

/** @returns the codes of what does not hold, each once, sorted */
export function checkInvariants(state: TopologyState): InvariantCode[] {
  return [
    ...new Set([...checkLans(state), ...checkNames(state), ...checkAddresses(state), ...checkServices(state)]),
  ].sort();
}

function* checkLans({ lans }: TopologyState): Generator<InvariantCode> {
  if (hasRepeated(lans.map(({ name }) => name))) yield 'LAN_NAME_DUP';
  const subnets: Subnet[] = [];
  for (const { subnet } of lans) {
    const parsed = parseCidr(subnet);
    if (parsed === undefined) yield 'SUBNET_MALFORMED';
    else subnets.push(parsed);
  }
  subnets.sort((one, other) => one.first - other.first);
  let reached: Subnet | undefined;
  for (const subnet of subnets) {
    if (reached !== undefined && overlaps(reached, subnet)) yield 'SUBNET_OVERLAP';
    if (reached === undefined || subnet.last > reached.last) reached = subnet;
  }
}

function* checkNames({ deckies }: TopologyState): Generator<InvariantCode> {
  if (hasRepeated(deckies.flatMap((decky) => [...namesOf(decky)]))) yield 'DECKY_NAME_DUP';
}

/** A patch of its configuration can give a decky a second name. */
function namesOf({ name, decky_config }: DeckyState): ReadonlySet<string> {
  return new Set(typeof decky_config.name === 'string' ? [name, decky_config.name] : [name]);
}

function* checkAddresses({ lans, deckies }: TopologyState): Generator<InvariantCode> {
  const lansByName = Map.groupBy(lans, ({ name }) => name);
  const taken: string[] = [];
  for (const [lan, ip] of deckies.flatMap((decky) => [...addressesOf(decky)])) {
    const address = parseAddress(ip);
    const places = lansByName.get(lan);
    if (places === undefined) yield 'IP_UNKNOWN_LAN';
    if (address === undefined) yield 'IP_MALFORMED';
    else if (places?.every(({ subnet }) => isOutside(subnet, address))) yield 'IP_OUT_OF_SUBNET';
    taken.push(JSON.stringify([lan, ip]));
  }
  if (hasRepeated(taken)) yield 'IP_COLLISION';
}

/** Nothing is outside of a subnet that cannot be read: that has a code of its own. */
function isOutside(cidr: string, address: number): boolean {
  const subnet = parseCidr(cidr);
  return subnet !== undefined && !contains(subnet, address);
}

function* checkServices({ deckies }: TopologyState): Generator<InvariantCode> {
  for (const { services, decky_config } of deckies) {
    if (services.some((service) => !KNOWN_SERVICES.includes(service))) yield 'UNKNOWN_SERVICE';
    const configured = isJsonObject(decky_config.service_config) ? Object.keys(decky_config.service_config) : [];
    if (configured.some((service) => !services.includes(service))) yield 'SERVICE_CFG_UNDECLARED';
  }
}

function hasRepeated(values: readonly string[]): boolean {
  return new Set(values).size < values.length;
}
