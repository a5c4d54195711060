import { createEvent, type Event } from '../bus/event.ts';
import { topics } from '../bus/topic.ts';

/** Networks reserved for documentation (RFC 5737): no demonstration points at anybody's machine. */
const NETWORKS = ['192.0.2', '198.51.100', '203.0.113'] as const;

/** A made-up address. @param number any integer from 0; addresses repeat after 762 */
export function attackerAddress(number: number): string {
  const network = NETWORKS[number % NETWORKS.length] ?? NETWORKS[0];
  return `${network}.${1 + (Math.floor(number / NETWORKS.length) % 254)}`;
}

/** How many different addresses {@link attackerAddress} makes. */
export const ATTACKER_ADDRESSES = NETWORKS.length * 254;

/** An attacker of the demonstration. */
export interface DemoAttacker {
  readonly uuid: string;
  readonly ip: string;
}

/**
 * What is told of an attacker who shows up. All that is known of him follows from events like these, as with DECNET's workers.
 * @param at milliseconds since the epoch
 * @param idOf names the events; by default they are new ones
 */
export function showsUp({ uuid, ip }: DemoAttacker, at: number, idOf?: (name: string) => string): Event[] {
  const [decky, service, event_type] = ['web-front', 'ssh', 'connection'];
  const timestamp = new Date(at).toISOString();
  const line = {
    ...{ decky, service, event_type, attacker_ip: ip, timestamp },
    raw_line: `<134>1 ${timestamp} ${decky} ${service} - ${event_type} [src="${ip}"] connection opened`,
    fields: {},
    msg: 'connection opened',
  };
  const profile = {
    ...{ attacker_uuid: uuid, attacker_ip: ip },
    event_count: 3 + (Number.parseInt(hash(ip).slice(2, 4), 16) % 40),
    ...{ service_count: 1, decky_count: 1, bounty_count: 0, credential_count: 0, is_traversal: false },
  };
  return [
    createEvent(topics.system('log'), event_type, line, idOf?.(`line/${ip}`), at),
    createEvent(topics.attacker('scored'), 'scored', profile, idOf?.(`scored/${ip}`), at),
  ];
}

/** 64 hex digits that depend on the text alone. */
function hash(text: string): string {
  return new Bun.CryptoHasher('sha256').update(text).digest('hex');
}
