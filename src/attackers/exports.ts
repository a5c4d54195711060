import type { JsonObject } from '../bus/event.ts';

/** What is told of an attacker to other tools. */
export interface Exported {
  readonly uuid: string;
  readonly ip: string;
  readonly first_seen: string;
  readonly last_seen: string;
}

/** Names observables: the same address has the same id everywhere (STIX 2.1 §2.9). */
const STIX_NAMESPACE = '00abedb4-aa42-466c-9c01-fed23315a9b7';

/** A STIX 2.1 bundle of the addresses (OASIS STIX 2.1 §6.10, §6.11, §8); without any it has no objects. */
export function stixBundle(attackers: readonly Exported[]): JsonObject {
  const objects = attackers.map(({ ip }) => {
    const type = familyOf(ip);
    const id = `${type}--${Bun.randomUUIDv5(JSON.stringify({ value: ip }), STIX_NAMESPACE)}`;
    return { type, spec_version: '2.1', id, value: ip };
  });
  return { type: 'bundle', id: `bundle--${crypto.randomUUID()}`, ...(objects.length > 0 ? { objects } : {}) };
}

/** The addresses as events of MISP, one for each attacker (MISP core format). */
export function mispEvents(attackers: readonly Exported[]): JsonObject {
  return {
    response: attackers.map(({ uuid, ip, first_seen, last_seen }) => ({
      Event: {
        uuid: uuidFor(uuid),
        info: `Attacker ${ip}`,
        date: first_seen.slice(0, 10),
        timestamp: secondsOf(last_seen),
        threat_level_id: '4',
        analysis: '0',
        distribution: '0',
        published: false,
        Attribute: [
          {
            uuid: uuidFor(`${uuid} ${ip}`),
            type: 'ip-src',
            category: 'Network activity',
            value: ip,
            to_ids: true,
            timestamp: secondsOf(last_seen),
            first_seen,
            last_seen,
          },
        ],
      },
    })),
  };
}

/** An answer that a browser saves. */
export function download(name: string, body: JsonObject): Response {
  return Response.json(body, { headers: { 'content-disposition': `attachment; filename="${name}.json"` } });
}

const familyOf = (ip: string) => (ip.includes(':') ? 'ipv6-addr' : 'ipv4-addr');
const secondsOf = (iso: string) => String(Math.floor(Date.parse(iso) / 1000));
/** Producers may name attackers by anything. */
const uuidFor = (name: string) => Bun.randomUUIDv5(name, STIX_NAMESPACE);
