/** The part of Bun's server that knows who is connected; null when a request came without a server. */
type AddressBook = { requestIP(request: Request): { readonly address: string } | null };

/** The address that a request is counted for. */
export type PeerAddress = (request: Request, server: AddressBook | null) => string;

/**
 * The TCP peer; behind a proxy that is trusted, whom that proxy names: the last entry of `x-forwarded-for`, which it has
 * appended itself. Everything before it may be the client's invention. Peers of a UNIX socket have no address and share
 * one count.
 * @param trustedProxies exact addresses
 */
export function peerAddress(trustedProxies: readonly string[]): PeerAddress {
  return (request, server) => {
    const peer = server?.requestIP(request)?.address ?? 'local';
    if (!trustedProxies.includes(peer)) return peer;
    return request.headers.get('x-forwarded-for')?.split(',').at(-1)?.trim() || peer;
  };
}
