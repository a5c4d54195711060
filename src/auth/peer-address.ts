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
  // A dotted end is two groups; all of IPv4 is in one network of IPv6, ::ffff:0:0/96.
  const [, dotted] = /:(\d+\.\d+\.\d+\.\d+)$/.exec(address) ?? [];
  const groups = groupsOf(dotted === undefined ? address : address.replace(dotted, '0:0'));
  if (dotted !== undefined && groups[5] === 0xffff) return dotted;
  const network = groups.slice(0, 4).map((group) => group.toString(16));
  return `${network.join(':')}::/64`;
}

function groupsOf(address: string): number[] {
  const [left = [], right = []] = address.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  return [...left, ...zeros, ...right].map((group) => Number.parseInt(group, 16));
}
