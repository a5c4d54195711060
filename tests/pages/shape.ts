/** What a field of an answer may hold. A question mark lets it be null; it never lets it be missing. */
type Kind = keyof typeof KINDS;
export type Shape = { readonly [name: string]: Kind | `${Kind}?` | readonly [Shape] | Shape };

const KINDS = {
  text: (value: unknown) => typeof value === 'string',
  int: (value: unknown) => Number.isInteger(value),
  number: (value: unknown) => typeof value === 'number' && Number.isFinite(value),
  bool: (value: unknown) => typeof value === 'boolean',
  list: (value: unknown) => Array.isArray(value),
  texts: (value: unknown) => Array.isArray(value) && value.every((item) => typeof item === 'string'),
  object: (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value),
  any: (value: unknown) => value !== undefined,
  /** ISO 8601 in UTC, as `new Date()` of the pages takes it. */
  time: (value: unknown) => typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value),
  /** Seconds since the epoch: neither milliseconds nor text. */
  seconds: (value: unknown) => typeof value === 'number' && value > 0 && value < 100_000_000_000,
  /** JSON in a text, which the pages parse. */
  json: (value: unknown) => typeof value === 'string' && JSON.parse(value) !== undefined,
};

/** What is wrong with a value, field by field: missing, surplus, or of another kind. Nothing is wrong with what fits. */
export function faultsOf(value: unknown, shape: Shape, at = ''): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [`${at || 'it'} is no object`];
  const fields = new Map(Object.entries(value));
  const surplus = [...fields.keys()].filter((name) => !(name in shape)).map((name) => `${at}${name} is surplus`);
  return [...surplus, ...Object.entries(shape).flatMap(([name, kind]) => faultsAt(fields, name, kind, at))];
}

function faultsAt(fields: ReadonlyMap<string, unknown>, name: string, kind: Shape[string], at: string): string[] {
  if (!fields.has(name)) return [`${at}${name} is missing`];
  const value = fields.get(name);
  if (typeof kind === 'string') return isOf(value, kind) ? [] : [`${at}${name} is no ${kind}`];
  if (!isList(kind)) return faultsOf(value, kind, `${at}${name}.`);
  if (!Array.isArray(value)) return [`${at}${name} is no list`];
  return value.flatMap((item, index) => faultsOf(item, kind[0], `${at}${name}[${index}].`));
}

function isOf(value: unknown, kind: Kind | `${Kind}?`): boolean {
  const isOptional = kind.endsWith('?');
  const name = isOptional ? kind.slice(0, -1) : kind;
  if (isOptional && value === null) return true;
  return name in KINDS && KINDS[name as Kind](value);
}

function isList(kind: Shape | readonly [Shape]): kind is readonly [Shape] {
  return Array.isArray(kind);
}

/** A page of a list (contract P0). */
export const envelope = (row: Shape): Shape => ({ total: 'int', limit: 'int', offset: 'int', data: [row] });

/** Contract §6.1. */
export const IDENTITY: Shape = {
  uuid: 'text',
  schema_version: 'int',
  campaign_id: 'text?',
  first_seen_at: 'time?',
  last_seen_at: 'time?',
  created_at: 'time',
  updated_at: 'time',
  confidence: 'number?',
  observation_count: 'int',
  ja3_hashes: 'json?',
  hassh_hashes: 'json?',
  ja4h_hashes: 'json?',
  ja4_quic_hashes: 'json?',
  http_versions_seen: 'json?',
  tls_cert_sha256: 'json?',
  ipv6_link_local_iids: 'json?',
  payload_simhashes: 'json?',
  c2_endpoints: 'json?',
  kd_digraph_simhash: 'text?',
  merged_into_uuid: 'text?',
  notes: 'text?',
};

/** Contract §6.2. */
export const CAMPAIGN: Shape = {
  uuid: 'text',
  schema_version: 'int',
  first_seen_at: 'time?',
  last_seen_at: 'time?',
  created_at: 'time',
  updated_at: 'time',
  confidence: 'number?',
  identity_count: 'int',
  ja3_hashes: 'json?',
  hassh_hashes: 'json?',
  tls_cert_sha256: 'json?',
  payload_simhashes: 'json?',
  c2_endpoints: 'json?',
  merged_into_uuid: 'text?',
  notes: 'text?',
};

/** Contract §6.3. */
export const ATTACKER: Shape = {
  uuid: 'text',
  ip: 'text',
  identity_id: 'text?',
  first_seen: 'time',
  last_seen: 'time',
  event_count: 'int',
  service_count: 'int',
  decky_count: 'int',
  services: 'texts',
  deckies: 'texts',
  traversal_path: 'text?',
  is_traversal: 'bool',
  bounty_count: 'int',
  credential_count: 'int',
  fingerprints: 'list',
  commands: [{ service: 'text', decky: 'text', command: 'text', timestamp: 'time' }],
  country_code: 'text?',
  country_source: 'text?',
  asn: 'int?',
  as_name: 'text?',
  bgp_prefix: 'text?',
  asn_source: 'text?',
  rpki_status: 'text?',
  rpki_source: 'text?',
  ptr_record: 'text?',
  rotation_count: 'int',
  last_rotation_at: 'time?',
  ipv6_leak_count: 'int',
  last_ipv6_leak_at: 'time?',
  last_ipv6_link_local: 'text?',
  last_ipv6_iid_kind: 'text?',
  last_ipv6_mac_oui: 'text?',
  updated_at: 'time',
};

/** Contract P5. */
export const LISTED_ATTACKER: Shape = { ...ATTACKER, behavior: 'object?' };

/** Contract §3.6. */
export const LOG_LINE: Shape = {
  id: 'int',
  timestamp: 'time',
  decky: 'text',
  service: 'text',
  event_type: 'text',
  attacker_ip: 'text',
  raw_line: 'text',
  fields: 'json',
  msg: 'text?',
  trace_id: 'text?',
  span_id: 'text?',
};

/** Contract P1.1. */
export const STATS: Shape = {
  total_logs: 'int',
  unique_attackers: 'int',
  active_deckies: 'int',
  deployed_deckies: 'int',
};

/** Contract §6.5. */
export const ACTION: Shape = {
  uuid: 'text',
  ts: 'time',
  kind: 'text',
  protocol: 'text',
  action: 'text',
  src_decky_uuid: 'text?',
  dst_decky_uuid: 'text',
  success: 'bool',
  payload: 'json',
};

/** Contract §6.5. */
export const EMAIL: Shape = {
  ...ACTION,
  subject: 'text',
  sender_email: 'text',
  recipient_email: 'text',
  language: 'text',
  thread_id: 'text',
  mail_decky_uuid: 'text',
  message_id: 'text',
  in_reply_to: 'text?',
};
