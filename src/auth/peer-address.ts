import { isIPv6 } from 'node:net';

/** The part of Bun's server that knows who is connected; null when a request came without a server. */
type AddressBook = { requestIP(request: Request): { readonly address: string } | null };

/** The address, or the network of one customer, that a request is counted for. */
export type PeerAddress = (request: Request, server: AddressBook | null) => string;

/**
 * The TCP peer; behind a proxy that is trusted, whom that proxy names: the last entry of `x-forwarded-for`, which it has
 * appended itself. Everything before it may be the client's invention. Peers of a UNIX socket have no address and share
 * one count. IPv6 addresses are counted by their network of 64 bits: whoever has one has all 2^64 of them.
 * @param trustedProxies exact addresses
 */
export function peerAddress(trustedProxies: readonly string[]): PeerAddress {
  return (request, server) => {
    const peer = server?.requestIP(request)?.address ?? 'local';
    if (!trustedProxies.includes(peer)) return networkOf(peer);
    return networkOf(request.headers.get('x-forwarded-for')?.split(',').at(-1)?.trim() || peer);
  };
}

function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  const groups = groupsOf(address);
  // All of IPv4 is in one network of IPv6, ::ffff:0:0/96.
  if (groups.slice(0, 6).join() === [0, 0, 0, 0, 0, 0xffff].join()) return dotted(groups.slice(6));
  const network = groups.slice(0, 4).map((group) => group.toString(16));
  return `${network.join(':')}::/64`;
}

/** The eight numbers of an IPv6 address (RFC 4291 §2.2). */
function groupsOf(address: string): number[] {
  const inHex = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => `${hex(a, b)}:${hex(c, d)}`);
  const [left = [], right = []] = inHex.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  return [...left, ...zeros, ...right].map((group) => Number.parseInt(group, 16));
}

const hex = (high: string, low: string) => (Number(high) * 256 + Number(low)).toString(16);
const dotted = (groups: readonly number[]) => groups.flatMap((group) => [group >> 8, group & 255]).join('.');
