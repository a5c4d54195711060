import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { integer, json, orNull, pageOf, ref } from '../http/schemas.ts';

const text = orNull(t.String());
const jsonText = orNull(t.String({ description: 'JSON in a string, as DECNET has it' }));

const identity = {
  uuid: t.String(),
  schema_version: integer,
  campaign_id: text,
  first_seen_at: text,
  last_seen_at: text,
  created_at: t.String(),
  updated_at: t.String(),
  confidence: orNull(t.Number()),
  observation_count: integer,
  ja3_hashes: jsonText,
  hassh_hashes: jsonText,
  ja4h_hashes: jsonText,
  ja4_quic_hashes: jsonText,
  http_versions_seen: jsonText,
  tls_cert_sha256: jsonText,
  ipv6_link_local_iids: jsonText,
  payload_simhashes: jsonText,
  c2_endpoints: jsonText,
  kd_digraph_simhash: orNull(t.String({ description: 'Hex' })),
  merged_into_uuid: text,
  notes: text,
};

export const identityModels = {
  Identity: t.Object(identity),
  IdentityDetail: t.Object({
    ...identity,
    observation_count_live: t.Unsafe<number>({ ...integer, description: 'Counted now' }),
  }),
  /** What was observed of an address. */
  Attacker: t.Object({
    uuid: t.String(),
    ip: t.String(),
    identity_id: text,
    first_seen: t.String(),
    last_seen: t.String(),
    event_count: integer,
    service_count: integer,
    decky_count: integer,
    services: json,
    deckies: json,
    traversal_path: text,
    is_traversal: t.Boolean(),
    bounty_count: integer,
    credential_count: integer,
    fingerprints: json,
    commands: json,
    country_code: text,
    country_source: text,
    asn: orNull(integer),
    as_name: text,
    bgp_prefix: text,
    asn_source: text,
    rpki_status: text,
    rpki_source: text,
    ptr_record: text,
    rotation_count: integer,
    last_rotation_at: text,
    ipv6_leak_count: integer,
    last_ipv6_leak_at: text,
    last_ipv6_link_local: text,
    last_ipv6_iid_kind: text,
    last_ipv6_mac_oui: text,
    updated_at: t.String(),
  }),
};

export const identityOperations = {
  list: operation('listIdentities', {
    tag: 'identities',
    summary: 'List identities that are not merged into another, the newest change first',
    access: 'viewer',
    answers: { 200: pageOf(ref('Identity')) },
    refuses: [422],
  }),
  read: operation('readIdentity', {
    tag: 'identities',
    summary: 'Read an identity; of one that was merged, the one that it went into',
    access: 'viewer',
    answers: { 200: ref('IdentityDetail') },
    refuses: [404],
  }),
  observations: operation('listIdentityObservations', {
    tag: 'identities',
    summary: 'List the attackers that are taken for this identity',
    access: 'viewer',
    answers: { 200: pageOf(ref('Attacker')) },
    refuses: [404, 422],
  }),
};

/** What opens the stream of identities. */
export const identitySnapshotSchema = t.Object({ identities: t.Array(ref('Identity'), { maxItems: 50 }) });
