import type { Generated, Selectable } from 'kysely';
import type { WebhookTables } from './webhook-tables.ts';

/**
 * The tables, one interface each. Both engines store the same values: times are ISO 8601 UTC text (sortable), booleans
 * are 0 or 1, JSON is text (several wire shapes carry it as a string, contract §6).
 */
export interface Database extends WebhookTables {
  users: UsersTable;
  revoked_tokens: RevokedTokensTable;
  service_accounts: ServiceAccountsTable;
  topologies: TopologiesTable;
  lans: LansTable;
  topology_deckies: TopologyDeckiesTable;
  topology_edges: TopologyEdgesTable;
  topology_status_events: TopologyStatusEventsTable;
  topology_mutations: TopologyMutationsTable;
  attacker_identities: AttackerIdentitiesTable;
  attackers: AttackersTable;
  outbox: OutboxTable;
  outbox_set_aside: OutboxSetAsideTable;
  channel_revisions: ChannelRevisionsTable;
  log_witness: LogWitnessTable;
  leases: LeasesTable;
  fleet_deckies: FleetDeckiesTable;
  decky_lifecycle: DeckyLifecycleTable;
  installation: InstallationTable;
  substrate_claims: SubstrateClaimsTable;
  projections: ProjectionsTable;
  projection_places: ProjectionPlacesTable;
  purges: PurgesTable;
  projection_epochs: ProjectionEpochsTable;
  projection_events: ProjectionEventsTable;
  projection_set_aside: ProjectionSetAsideTable;
  rosters: RostersTable;
  attackers_leaving: AttackersLeavingTable;
  logs: LogsTable;
  log_values: LogValuesTable;
  log_minutes: LogMinutesTable;
  log_quarters: LogQuartersTable;
  counters: CountersTable;
  log_epochs: LogEpochsTable;
  attacker_uuids: AttackerUuidsTable;
  attacker_commands: AttackerCommandsTable;
  attacker_services: AttackerServicesTable;
  identity_observations: IdentityObservationsTable;
  attacker_smtp_targets: AttackerSmtpTargetsTable;
  observations: ObservationsTable;
  attributions: AttributionsTable;
  attacker_intel: AttackerIntelTable;
  campaigns: CampaignsTable;
  campaign_members: CampaignMembersTable;
  orchestrator_events: OrchestratorEventsTable;
  orchestrator_emails: OrchestratorEmailsTable;
  worker_heartbeats: WorkerHeartbeatsTable;
  settings: SettingsTable;
  tarpits: TarpitsTable;
}

/** 0 or 1; SQLite has no boolean. */
export type Bit = 0 | 1;

export interface UsersTable {
  uuid: string;
  username: string;
  password_hash: string;
  role: 'admin' | 'viewer';
  must_change_password: Bit;
  /** ISO time; tokens issued in an earlier second are refused. */
  tokens_valid_from: string | null;
}

export interface RevokedTokensTable {
  jti: string;
  user_uuid: string;
  expires_at: string;
  revoked_at: string;
}

export interface ServiceAccountsTable {
  uuid: string;
  /** Of those that are not revoked no two have the same. */
  name: string;
  /** JSON lists of topic patterns. */
  publish: string;
  subscribe: string;
  control: Bit;
  /** Rises with each change of the three above: what was admitted by an older one ends. */
  rights_version: Generated<number>;
  /** SHA-256 of the secret, in hex. */
  secret_hash: string;
  /** Rises with each rotation. */
  secret_number: Generated<number>;
  /** The secret before, which holds until the time beside it. */
  previous_hash: string | null;
  previous_until: string | null;
  expires_at: string | null;
  created_at: string;
  /** To the minute. */
  last_used_at: string | null;
  revoked_at: string | null;
}

export interface TopologiesTable {
  id: string;
  name: string;
  mode: 'unihost' | 'agent';
  target_host_uuid: string | null;
  config_snapshot: string;
  status: string;
  status_changed_at: string;
  created_at: string;
  version: Generated<number>;
  needs_resync: Generated<Bit>;
  email_personas: Generated<string>;
  language_default: Generated<string>;
}

export interface LansTable {
  id: string;
  topology_id: string;
  name: string;
  docker_network_id: string | null;
  subnet: string;
  is_dmz: Bit;
  x: number | null;
  y: number | null;
}

export interface TopologyDeckiesTable {
  uuid: string;
  topology_id: string;
  name: string;
  services: string;
  decky_config: string | null;
  ip: string | null;
  state: string;
  last_error: string | null;
  compose_hash: string | null;
  last_seen: string | null;
  updated_at: string;
  x: number | null;
  y: number | null;
}

export interface TopologyEdgesTable {
  id: string;
  topology_id: string;
  decky_uuid: string;
  lan_id: string;
  is_bridge: Bit;
  forwards_l3: Bit;
}

export interface TopologyStatusEventsTable {
  id: string;
  topology_id: string;
  from_status: string;
  to_status: string;
  at: string;
  reason: string | null;
}

export type MutationState = 'pending' | 'applying' | 'applied' | 'failed';

export interface TopologyMutationsTable {
  id: string;
  topology_id: string;
  op: string;
  payload: string;
  state: MutationState;
  /** Position in the topology's queue: unique and rising, where `requested_at` may repeat. */
  queue_position: number;
  requested_at: string;
  applied_at: string | null;
  reason: string | null;
  /** The mutator that took it last; `null` before the first. */
  claimed_by: string | null;
  /** Milliseconds since the epoch; while `applying` and past this, any mutator may take it over. */
  claim_expires_at: number | null;
  /** How often it has been taken: tells the claims of one mutator apart. */
  attempts: Generated<number>;
  /** The subnet chosen for a LAN that is being added, so that nobody else chooses it. */
  reserved_subnet: string | null;
}

export interface AttackerIdentitiesTable {
  uuid: string;
  schema_version: Generated<number>;
  campaign_id: string | null;
  first_seen_at: string | null;
  last_seen_at: string | null;
  created_at: string;
  updated_at: string;
  confidence: number | null;
  observation_count: number;
  ja3_hashes: string | null;
  hassh_hashes: string | null;
  ja4h_hashes: string | null;
  ja4_quic_hashes: string | null;
  http_versions_seen: string | null;
  tls_cert_sha256: string | null;
  ipv6_link_local_iids: string | null;
  payload_simhashes: string | null;
  c2_endpoints: string | null;
  /** Hex, not raw bytes: bytes that are no UTF-8 broke every list in DECNET (contract §6.1). */
  kd_digraph_simhash: string | null;
  merged_into_uuid: string | null;
  notes: string | null;
}

export interface AttackersTable {
  uuid: string;
  ip: string;
  identity_id: string | null;
  first_seen: string;
  last_seen: string;
  event_count: Generated<number>;
  service_count: Generated<number>;
  decky_count: Generated<number>;
  services: Generated<string>;
  deckies: Generated<string>;
  traversal_path: string | null;
  is_traversal: Generated<Bit>;
  bounty_count: Generated<number>;
  credential_count: Generated<number>;
  fingerprints: Generated<string>;
  commands: Generated<string>;
  country_code: string | null;
  country_source: string | null;
  asn: number | null;
  as_name: string | null;
  bgp_prefix: string | null;
  asn_source: string | null;
  rpki_status: string | null;
  rpki_source: string | null;
  ptr_record: string | null;
  rotation_count: Generated<number>;
  last_rotation_at: string | null;
  ipv6_leak_count: Generated<number>;
  last_ipv6_leak_at: string | null;
  last_ipv6_link_local: string | null;
  last_ipv6_iid_kind: string | null;
  last_ipv6_mac_oui: string | null;
  updated_at: string;
}

/** Events committed with their state change and not yet acknowledged by Redis (transactional outbox). */
export interface OutboxTable {
  seq: Generated<number>;
  event_id: string;
  topic: string;
  type: string;
  /** Seconds since the epoch. */
  ts: number;
  payload: string;
  /** JSON object: channel → the revision that this event gave it. */
  revisions: string;
  /** Of the payload, in UTF-8. */
  bytes: Generated<number>;
  /** The channel that the log forgets once this event is published. */
  forget: Generated<string | null>;
}

/** Events of the outbox that could not be published: out of the way of the others, and kept. */
export interface OutboxSetAsideTable {
  event_id: string;
  topic: string;
  type: string;
  ts: number;
  bytes: number;
  revisions: string;
  forget: string | null;
  /** How often in a row it failed. */
  tries: number;
  error: string;
  /** 1 when an event that says so was published in its place, under its id. */
  substituted: Bit;
  /** ISO time. */
  set_aside_at: string;
  payload: string;
}

/** The newest event of the log that is known to be published, for each epoch; the newest epoch is that of the log. */
export interface LogWitnessTable {
  seq: Generated<number>;
  epoch: string;
  log_offset: number;
  proof: string;
}

/** How many events the database has committed for a channel; a snapshot names the revision that it contains. */
export interface ChannelRevisionsTable {
  channel: string;
  revision: number;
}

/** One row for each role that only one node at a time may play. Times are milliseconds since the epoch. */
export interface LeasesTable {
  name: string;
  /** Empty when it was given back. */
  holder: string;
  expires_at: number;
  /** Rises with each new holder, and when the same one takes it again after it had ended. */
  term: Generated<number>;
}

/** One row, as old as the database. */
export interface InstallationTable {
  /** Tells this installation's things from those of others in a substrate that they share. */
  id: string;
  /** The token of the newest claim of anything in the substrate. */
  last_fence: number;
}

/** Who may change a thing of the substrate: one row for each that somebody claims. */
export interface SubstrateClaimsTable {
  /** A topology's id, or a decky of the fleet. */
  thing: string;
  /** Names the claim; whoever has a higher one came later. */
  fence: number;
  /** Milliseconds since the epoch; past this anybody may claim the thing. */
  expires_at: number;
}

/** The flat fleet: deckies outside of any topology. */
export interface FleetDeckiesTable {
  name: string;
  host_uuid: string | null;
  archetype: string;
  /** JSON list: what it pretends to be now. */
  services: string;
  /** JSON list: what a rotation picks from. */
  service_pool: string;
  /** Such as `30m` or `5d`; `null` follows the fleet's own, if it has one. */
  mutate_interval: string | null;
  state: string;
  last_mutated_at: string | null;
  /** When the next scheduled rotation is due; `null` when that has not been worked out or never comes. */
  next_due_at: string | null;
  updated_at: string;
  /** Empty for one that was recorded without. */
  ip: Generated<string>;
  hostname: Generated<string>;
  distro: Generated<string>;
  base_image: Generated<string>;
  build_base: Generated<string>;
  nmap_os: Generated<string>;
  /** JSON object: service → its configuration. */
  service_config: Generated<string>;
}

/** What administrators set for the whole installation. */
export interface SettingsTable {
  name: string;
  value: string;
  updated_at: string;
}

/** Ports of a decky that keep whoever connects waiting. */
export interface TarpitsTable {
  id: string;
  /** The decky of a topology; `null` for one of the fleet, which {@link fleet_decky} names. */
  decky_uuid: string | null;
  fleet_decky: string | null;
  /** JSON list. */
  ports: string;
  delay_ms: number;
  created_at: string;
  created_by: string;
}

export type LifecycleStatus = 'pending' | 'running' | 'succeeded' | 'failed';

/** One request to do something to a fleet decky, and what became of it. */
export interface DeckyLifecycleTable {
  id: string;
  decky_name: string;
  host_uuid: string | null;
  operation: 'deploy' | 'mutate';
  status: LifecycleStatus;
  error: string | null;
  started_at: string;
  updated_at: string;
  completed_at: string | null;
  trigger: 'scheduled' | 'operator';
  /** The user who asked for it. */
  actor: string | null;
  /** JSON list, chosen once: whoever takes over carries on with the same. */
  planned_services: string | null;
  /** The claim under which it runs. */
  claimed_by: string | null;
  /** Milliseconds since the epoch; while `running` and past this, any node may take it over. */
  claim_expires_at: number | null;
}

/** Where a projection of the event log stands: committed together with its rows. */
export interface ProjectionsTable {
  name: string;
  /** Of the code that made the rows; another one does not go on with them. */
  version: number;
  /** The place in the log up to which its rows contain everything; an empty epoch: nothing yet. */
  epoch: string;
  log_offset: number;
  proof: string;
  /** Below this offset it is walking over what it may have counted before: its rows are ahead of its place. */
  aligned_until: Generated<number>;
  /** When the newest event that it has looked at happened, in seconds since the epoch. */
  event_ts: number | null;
  /** Events that became rows, that held nothing usable, that were known already, that could not be applied. */
  counted: Generated<number>;
  skipped: Generated<number>;
  repeated: Generated<number>;
  set_aside: Generated<number>;
  /** How often history was gone before it had been read. */
  gaps: Generated<number>;
  /** JSON: the newest of them. */
  last_gap: string | null;
  /**
   * Not 0 while its rows are being removed, some at a time: they are to be trusted in nothing. 1: to be filled again from the log's
   * beginning; 2: what stands in the log before its place was purged.
   */
  clearing: Generated<0 | 1 | 2>;
}

/** Purges that an administrator asked for. */
export interface PurgesTable {
  event_id: string;
  asked_by: string;
  /** ISO time. */
  asked_at: string;
}

/** Where a projection stands in a channel: what a snapshot of its rows contains of the channel's stream. */
export interface ProjectionPlacesTable {
  projection: string;
  channel: string;
  channel_offset: number;
  proof: string;
}

/** How far a projection came in each epoch. */
export interface ProjectionEpochsTable {
  projection: string;
  epoch: string;
  reached: number;
  /** Up to here its event ids are not remembered any more. */
  forgotten: Generated<number>;
}

/** The ids of events that a projection has counted: the newest of them. */
export interface ProjectionEventsTable {
  projection: string;
  event_id: string;
  /** The projection's own count. */
  ordinal: number;
  epoch: string;
  log_offset: number;
}

/** Events that a projection could not apply: out of the way of the others, and told. */
export interface ProjectionSetAsideTable {
  projection: string;
  event_id: string;
  epoch: string;
  log_offset: number;
  topic: string;
  error: string;
  /** ISO time. */
  set_aside_at: string;
}

/** What rows of read models are about, in the order in which it was told of last. */
export interface RostersTable {
  roster: string;
  key: string;
  /** Rises with each that is told of. */
  told: number;
}

/** Attackers that are gone and of whom there were too many commands to remove them at once. */
export interface AttackersLeavingTable {
  ip: string;
}

/** One line of a decky's log (contract §3.6). */
export interface LogsTable {
  id: number;
  timestamp: string;
  decky: string;
  service: string;
  event_type: string;
  attacker_ip: string;
  raw_line: string;
  /** JSON object. */
  fields: string;
  msg: string | null;
  trace_id: string | null;
  span_id: string | null;
}

/** How many lines there are of each value of a filter. */
export interface LogValuesTable {
  field: string;
  value: string;
  lines: number;
}

/** How many lines there are of each minute. */
export interface LogMinutesTable {
  /** Minutes since the epoch. */
  minute: number;
  lines: number;
}

/** How many lines of a value each quarter of an hour has, for columns with few values. */
export interface LogQuartersTable {
  field: string;
  value: string;
  /** Quarters of an hour since the epoch. */
  quarter: number;
  lines: number;
}

/** Numbers that are kept instead of counted. */
export interface CountersTable {
  name: string;
  value: number;
}

/** Epochs of the event log in the order in which they were met: the upper part of a line's id. */
export interface LogEpochsTable {
  epoch: string;
  ordinal: number;
}

/** What producers call an attacker; one address may have several names, and one may be told before its address is. */
export interface AttackerUuidsTable {
  uuid: string;
  ip: string | null;
  identity_uuid: string | null;
}

export interface AttackerCommandsTable {
  seq: Generated<number>;
  ip: string;
  timestamp: string;
  service: string;
  decky: string;
  command: string;
  session_id: string | null;
}

/** Which identity an attacker, by what producers call him, was last said to belong to. */
export interface IdentityObservationsTable {
  observation_uuid: string;
  identity_uuid: string;
}

/** Which services an attacker has touched: what an attacker's row holds as a list, to look for. */
export interface AttackerServicesTable {
  service: string;
  ip: string;
  /** The closest there was, of `attackers/contact.ts`. */
  contact: number;
}

/** To which domains an attacker has tried to send mail. */
export interface AttackerSmtpTargetsTable {
  ip: string;
  domain: string;
  mails: number;
  first_seen: string;
  last_seen: string;
}

/** The newest observation of each primitive of an attacker (contract §6.4). */
export interface ObservationsTable {
  attacker_uuid: string;
  primitive: string;
  id: string;
  identity_ref: string | null;
  /** JSON. */
  value: string;
  confidence: number;
  window_start_ts: number | null;
  window_end_ts: number | null;
  source: string;
  evidence_ref: string | null;
  envelope_v: number;
  ts: number;
}

/** What attribution says of each primitive of an identity (contract §6.3). */
export interface AttributionsTable {
  identity_uuid: string;
  primitive: string;
  /** JSON. */
  current_value: string;
  state: string;
  confidence: number;
  observation_count: number;
  last_change_ts: number;
  last_observation_ts: number;
}

export interface AttackerIntelTable {
  attacker_uuid: string;
  /** JSON object: the payload of `attacker.intel.enriched`. */
  intel: string;
  updated_at: string;
}

/** Contract §6.2. */
export interface CampaignsTable {
  uuid: string;
  schema_version: Generated<number>;
  first_seen_at: string | null;
  last_seen_at: string | null;
  created_at: string;
  updated_at: string;
  confidence: number | null;
  identity_count: Generated<number>;
  ja3_hashes: string | null;
  hassh_hashes: string | null;
  tls_cert_sha256: string | null;
  payload_simhashes: string | null;
  c2_endpoints: string | null;
  merged_into_uuid: string | null;
  notes: string | null;
}

/** Which campaign an identity belongs to. */
export interface CampaignMembersTable {
  identity_uuid: string;
  campaign_uuid: string;
}

/** Contract §6.5. */
export interface OrchestratorEventsTable {
  /** The id of its event. */
  uuid: string;
  ts: string;
  kind: 'traffic' | 'file';
  protocol: string;
  action: string;
  src_decky_uuid: string | null;
  dst_decky_uuid: string;
  success: Bit;
  /** JSON object. */
  payload: string;
}

/** Contract §6.5. */
export interface OrchestratorEmailsTable {
  /** The id of its event. */
  uuid: string;
  ts: string;
  mail_decky_uuid: string;
  thread_id: string;
  message_id: string;
  in_reply_to: string | null;
  sender_email: string;
  recipient_email: string;
  subject: string;
  language: string;
  eml_path: string | null;
  success: Bit;
  /** JSON object. */
  payload: string;
}

/** When each worker was last heard of (contract §8). */
export interface WorkerHeartbeatsTable {
  name: string;
  /** Seconds since the epoch. */
  ts: number;
  /** JSON object: what it told beside its name and the time. */
  extra: string;
}

export type ProjectionRow = Selectable<ProjectionsTable>;
export type LogRow = Selectable<LogsTable>;
export type CampaignRow = Selectable<CampaignsTable>;
export type OrchestratorEventRow = Selectable<OrchestratorEventsTable>;
export type OutboxRow = Selectable<OutboxTable>;
export type SetAsideRow = Selectable<OutboxSetAsideTable>;
export type ServiceAccountRow = Selectable<ServiceAccountsTable>;
export type UserRow = Selectable<UsersTable>;
export type TopologyRow = Selectable<TopologiesTable>;
export type LanRow = Selectable<LansTable>;
export type DeckyRow = Selectable<TopologyDeckiesTable>;
export type EdgeRow = Selectable<TopologyEdgesTable>;
export type MutationRow = Selectable<TopologyMutationsTable>;
export type IdentityRow = Selectable<AttackerIdentitiesTable>;
export type AttackerRow = Selectable<AttackersTable>;
export type FleetDeckyRow = Selectable<FleetDeckiesTable>;
export type TarpitRow = Selectable<TarpitsTable>;
export type DeckyLifecycleRow = Selectable<DeckyLifecycleTable>;
