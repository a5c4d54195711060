import type { Insertable } from 'kysely';
import type { AttackerIdentitiesTable } from '../../src/db/schema.ts';

/** An identity that has just been formed out of so many observations. @param at ISO time */
export function identityRow(uuid: string, observations: number, at: string): Insertable<AttackerIdentitiesTable> {
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
