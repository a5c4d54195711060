/** An IPv4 network as its first and its last address, both numbers from 0 to 2³² − 1. */
export interface Subnet {
  readonly first: number;
  readonly last: number;
}

const OCTET = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const ADDRESS = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}$`);
const PREFIX = /^(?:[12]?\d|3[0-2])$/;
/** The number of addresses in a /24. */
const SLASH_24 = 256;

/** @returns `undefined` for anything but four decimal bytes without leading zeros */
export function parseAddress(text: string): number | undefined {
  if (!ADDRESS.test(text)) return undefined;
  return text.split('.').reduce((address, octet) => address * 256 + Number(octet), 0);
}

export function formatAddress(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');
}

/**
 * Reads `10.0.1.0/24`.
 * @returns `undefined` for anything else, a network with host bits set included
 */
export function parseCidr(text: string): Subnet | undefined {
  const [address = '', prefix = '', ...rest] = text.split('/');
  const first = parseAddress(address);
  if (first === undefined || !PREFIX.test(prefix) || rest.length > 0) return undefined;
  const size = 2 ** (32 - Number(prefix));
  return first % size === 0 ? { first, last: first + size - 1 } : undefined;
}

export function contains(subnet: Subnet, address: number): boolean {
  return subnet.first <= address && address <= subnet.last;
}

export function overlaps(one: Subnet, other: Subnet): boolean {
  return one.first <= other.last && other.first <= one.last;
}

/**
 * The lowest /24 of a pool that overlaps no network in use.
 * @param pool CIDR
 * @param used CIDRs; what cannot be read is passed over
 * @returns CIDR; `undefined` when the pool is exhausted, smaller than a /24 or malformed
 */
export function nextSubnet(pool: string, used: Iterable<string>): string | undefined {
  const bounds = parseCidr(pool);
  if (bounds === undefined) return undefined;
  const taken = [...used]
    .map(parseCidr)
    .filter((subnet) => subnet !== undefined)
    .sort((one, other) => one.first - other.first);
  let first = bounds.first;
  for (const subnet of taken) {
    if (!overlaps(subnet, { first, last: first + SLASH_24 - 1 })) continue;
    first = (Math.floor(subnet.last / SLASH_24) + 1) * SLASH_24;
  }
  return first + SLASH_24 - 1 <= bounds.last ? `${formatAddress(first)}/24` : undefined;
}

/**
 * The lowest address of a network for a decky: neither the network's own, nor the gateway's (the first after it), nor
 * the broadcast address.
 * @param subnet CIDR
 * @param used addresses that are taken
 * @returns `undefined` when none is left or the network is malformed
 */
export function nextAddress(subnet: string, used: Iterable<string>): string | undefined {
  const bounds = parseCidr(subnet);
  if (bounds === undefined) return undefined;
  const taken = new Set(used);
  for (let address = bounds.first + 2; address < bounds.last; address += 1) {
    const text = formatAddress(address);
    if (!taken.has(text)) return text;
  }
  return undefined;
}
