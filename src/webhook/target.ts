import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { within } from '../bus/within.ts';
import { describeError } from '../errors.ts';
import { forbiddenRange } from './address.ts';

/** A receiver that may be spoken to: its URL, and the addresses that it was allowed under. */
export interface Target {
  readonly url: URL;
  /** The host as TLS and `Host` name it, an IPv6 address without brackets. */
  readonly host: string;
  /** At least one; connect to these, never to what the name resolves to a moment later. */
  readonly addresses: readonly string[];
}

/** A URL that no webhook may be sent to. The message says why, for the operator. */
export class TargetError extends Error {
  /** The name may resolve in a while. */
  readonly isPassing: boolean;

  constructor(message: string, isPassing = false) {
    super(message);
    this.name = 'TargetError';
    this.isPassing = isPassing;
  }
}

/** Every address of a name; rejects when it has none. */
export type Resolve = (host: string) => Promise<readonly string[]>;

export interface TargetRules {
  /** `DECNET_WEBHOOK_ALLOW_PRIVATE`: a laboratory's own network may be reached. Everything else is checked all the same. */
  readonly allowPrivate: boolean;
  /** By default the resolver of the system (`getaddrinfo`), as DECNET does. */
  readonly resolve?: Resolve;
}

const RESOLVE_MS = 5000;

/** Other protocols' ports, which the WHATWG Fetch standard ("port blocking") refuses: a webhook must not speak to a mail server. */
const BLOCKED_PORTS: ReadonlySet<number> = new Set([
  ...[0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104],
  ...[109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526],
  ...[530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045],
  ...[4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080],
]);

/**
 * Reads the URL of a webhook, as far as that goes without asking for the name's addresses.
 * @throws {TargetError} for another scheme than http(s), user information, another protocol's port, or what is no URL
 */
export function parseTargetUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null) throw new TargetError('webhook URL cannot be read: it must be http(s)://host[:port]/path');
  const scheme = url.protocol.slice(0, -1);
  if (scheme !== 'http' && scheme !== 'https') {
    throw new TargetError(`webhook URL scheme '${scheme}' is not allowed (use http/https)`);
  }
  if (url.hostname === '') throw new TargetError('webhook URL has no host');
  if (url.username !== '' || url.password !== '') {
    throw new TargetError('webhook URL must not hold a user or password: receivers check the signature');
  }
  if (url.port !== '' && BLOCKED_PORTS.has(Number(url.port))) {
    throw new TargetError(`webhook port ${url.port} is forbidden: it belongs to another protocol`);
  }
  return url;
}

/**
 * Checks where a webhook would go, now: at save and again at every delivery, since a name may resolve otherwise each time.
 * Every address of the name has to be allowed: who is behind it is chosen by whoever answers for the name.
 * @throws {TargetError} also when the name does not resolve within five seconds
 */
export async function resolveTarget(
  text: string,
  { allowPrivate, resolve = systemResolve }: TargetRules,
): Promise<Target> {
  const url = parseTargetUrl(text);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const addresses = isIP(host) === 0 ? await addressesOf(host, resolve) : [host];
  if (!allowPrivate) {
    for (const address of addresses) {
      const range = forbiddenRange(address);
      if (range === undefined) continue;
      throw new TargetError(
        `webhook host '${host}' has the forbidden address ${address} (${range}); set DECNET_WEBHOOK_ALLOW_PRIVATE=true to allow it`,
      );
    }
  }
  return { url, host, addresses };
}

async function addressesOf(host: string, resolve: Resolve): Promise<readonly string[]> {
  try {
    const addresses = await within(resolve(host), RESOLVE_MS, `resolving ${host}`);
    if (addresses.length === 0) throw new Error('it has no address');
    return addresses;
  } catch (error) {
    throw new TargetError(`webhook host '${host}' did not resolve: ${describeError(error)}`, true);
  }
}

async function systemResolve(host: string): Promise<readonly string[]> {
  const found = await lookup(host, { all: true, verbatim: true });
  return found.map(({ address }) => address);
}
