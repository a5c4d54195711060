import ipaddr from 'ipaddr.js';

// Of IPv6 only this is assigned for the global Internet (RFC 4291 §2.4, IANA's registry of the address space).
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR('2000::/3');

/**
 * Why a webhook must not be sent to an address: the name of the range that it is in (`private`, `loopback`, `linkLocal`,
 * `carrierGradeNat`, `6to4`, …), or `undefined` for an address of the public Internet. An IPv4 address in IPv6's clothes is judged
 * as itself; one behind a translator (NAT64, 6to4, Teredo) is refused, because who translates decides where it goes.
 * @param address IPv4 or IPv6 as text, without a zone
 */
export function forbiddenRange(address: string): string | undefined {
  if (!ipaddr.isValid(address)) return 'invalid';
  const parsed = ipaddr.process(address);
  const range = parsed.range();
  if (range !== 'unicast') return range;
  return parsed instanceof ipaddr.IPv6 && !parsed.match(GLOBAL_UNICAST) ? 'unassigned' : undefined;
}
