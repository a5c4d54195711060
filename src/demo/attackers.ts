import type { Insertable } from 'kysely';
import type { AttackerIdentitiesTable, AttackersTable } from '../db/schema.ts';

/** Networks reserved for documentation (RFC 5737): no demonstration points at anybody's machine. */
const NETWORKS = ['192.0.2', '198.51.100', '203.0.113'] as const;

/** Fictional origins; the AS numbers are reserved for documentation (RFC 5398). */
const ORIGINS = [
  { country_code: 'NL', asn: 64496, as_name: 'EXAMPLE-HOSTING' },
  { country_code: 'BR', asn: 64501, as_name: 'EXAMPLE-ACCESS' },
  { country_code: 'VN', asn: 64506, as_name: 'EXAMPLE-MOBILE' },
] as const;

/** A made-up address. @param number any integer from 0; addresses repeat after 762 */
export function attackerAddress(number: number): string {
  const network = NETWORKS[number % NETWORKS.length] ?? NETWORKS[0];
  return `${network}.${1 + (Math.floor(number / NETWORKS.length) % 254)}`;
}

/** How many different addresses {@link attackerAddress} makes. */
export const ATTACKER_ADDRESSES = NETWORKS.length * 254;

/** An attacker that has just been seen. @param at ISO time */
export function demoAttacker(uuid: string, ip: string, identityUuid: string, at: string): Insertable<AttackersTable> {
  const digits = hash(ip);
  const origin = ORIGINS[Number.parseInt(digits.slice(0, 2), 16) % ORIGINS.length] ?? ORIGINS[0];
  return {
    uuid,
    ip,
    identity_id: identityUuid,
    first_seen: at,
    last_seen: at,
    event_count: 3 + (Number.parseInt(digits.slice(2, 4), 16) % 40),
    service_count: 1,
    decky_count: 1,
    services: '["ssh"]',
    deckies: '["web-front"]',
    fingerprints: JSON.stringify([{ bounty_type: 'fingerprint', payload: hassh(digits) }]),
    ...origin,
    country_source: 'demo',
    asn_source: 'demo',
    updated_at: at,
  };
}

/** As a projection keeps what a prober has found. */
function hassh(digits: string) {
  return { fingerprint_type: 'hassh', port: 22, hassh_server: digits.slice(0, 32), ssh_banner: 'SSH-2.0-OpenSSH_9.6' };
}

/** An identity that has just been formed out of so many observations. @param at ISO time */
export function demoIdentity(uuid: string, observations: number, at: string): Insertable<AttackerIdentitiesTable> {
  const digits = hash(uuid);
  return {
    uuid,
    first_seen_at: at,
    last_seen_at: at,
    created_at: at,
    updated_at: at,
    confidence: 0.5 + (Number.parseInt(digits.slice(0, 2), 16) % 50) / 100,
    observation_count: observations,
    ja3_hashes: JSON.stringify([digits.slice(0, 32)]),
    hassh_hashes: JSON.stringify([digits.slice(32)]),
    http_versions_seen: '["http/1.1"]',
    kd_digraph_simhash: digits.slice(8, 24),
  };
}

/** 64 hex digits that depend on the text alone. */
function hash(text: string): string {
  return new Bun.CryptoHasher('sha256').update(text).digest('hex');
}
