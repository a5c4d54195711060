import { newEventId } from '../bus/event.ts';
import { topics } from '../bus/topic.ts';
import { logLine, PRIMITIVES, pickAttacker } from './scenes.ts';
import { type DemoAct, pick, randomBelow, tell } from './world.ts';

/** What attackers leave behind, and what is found out about them: each fills a section of an attacker's page. */

const MAIL_DECKY = 'mail-relay';
const FILES = [
  '/tmp/.x/kit.sh',
  '/var/www/html/shell.php',
  '/dev/shm/miner',
  '/home/ops/.ssh/authorized_keys',
] as const;
const MAILS = [
  { subject: 'Overdue invoice', domains: ['accounts.example', 'ledger.example'] },
  { subject: 'Your mailbox is almost full', domains: ['staff.example'] },
  { subject: 'Parcel on hold', domains: ['post.example', 'shop.example', 'staff.example'] },
] as const;
const FAMILIES = ['ExampleBot', 'SampleRAT'] as const;

/** A prober looks back at an attacker: one of the things that it can tell apart. */
export const attackerProbed: DemoAct = async (world) => {
  const attacker = await pickAttacker(world);
  if (attacker === undefined) return;
  const hash = (salt: string) => digestOf(`${salt} ${attacker.ip}`);
  const probes = {
    jarm: { port: 443, jarm_hash: hash('jarm').slice(0, 62) },
    hassh: { port: 22, hassh_server: hash('hassh').slice(0, 32), ssh_banner: 'SSH-2.0-OpenSSH_9.6' },
    tcpfp: { port: 443, tcpfp_hash: hash('tcp').slice(0, 32), ttl: 64, mss: 1460 },
    tls_certificate: { port: 8443, subject_cn: 'panel.example', cert_sha256: hash('tls'), self_signed: true },
    icmp_error: {
      icmp_matrix: '1010',
      icmp_fp_hash: hash('icmp').slice(0, 16),
      errors: { port_unreachable: { returned: true, rtt_ms: '38.1' }, time_exceeded: { returned: false } },
      observed_at: new Date().toISOString(),
    },
  } as const;
  const type = pick(world, Object.keys(probes) as (keyof typeof probes)[]) ?? 'jarm';
  await tell(world, topics.attacker('fingerprinted'), type, { attacker_ip: attacker.ip, ...probes[type] });
};

/** Providers of intelligence have answered about an attacker. */
export const attackerEnriched: DemoAct = async (world) => {
  const attacker = await pickAttacker(world);
  if (attacker === undefined) return;
  const score = randomBelow(world, 101);
  const isKnown = score >= 75;
  const families = isKnown ? [pick(world, FAMILIES) ?? FAMILIES[0]] : [];
  const verdict = isKnown ? 'malicious' : score >= 25 ? 'suspicious' : 'benign';
  await tell(world, topics.attacker('intel.enriched'), 'intel.enriched', {
    attacker_uuid: attacker.uuid,
    attacker_ip: attacker.ip,
    aggregate_verdict: verdict,
    providers: ['greynoise', 'abuseipdb', 'feodo', 'threatfox'],
    abuseipdb_score: score,
    abuseipdb_categories: ['brute-force'],
    greynoise_classification: verdict,
    greynoise_name: 'unknown',
    greynoise_tags: [],
    feodo_listed: isKnown,
    feodo_malware_family: families[0] ?? null,
    threatfox_listed: isKnown,
    threatfox_threat_types: [],
    threatfox_ioc_types: [],
    threatfox_malware_families: families,
  });
};

/** An attacker drops a file, which is kept. */
export const fileCaptured: DemoAct = async (world) => {
  const attacker = await pickAttacker(world);
  const orig_path = pick(world, FILES);
  if (attacker === undefined || orig_path === undefined) return;
  const sha256 = digestOf(`${orig_path} ${randomBelow(world, 20)}`);
  const fields = {
    orig_path,
    sha256,
    size: `${512 + randomBelow(world, 90_000)}`,
    stored_as: storedAs(sha256, orig_path.split('/').at(-1) ?? 'file'),
    src_ip: attacker.ip,
    ssh_user: 'root',
  };
  await logLine(world, { attacker, decky: 'orders-db', service: 'ssh' }, 'file_captured', `kept ${orig_path}`, fields);
};

/** An attacker sends mail through a decky, which keeps it instead. */
export const mailReceived: DemoAct = async (world) => {
  const attacker = await pickAttacker(world);
  const mail = pick(world, MAILS);
  if (attacker === undefined || mail === undefined) return;
  const sha256 = digestOf(newEventId());
  const stored_as = storedAs(sha256, 'message.eml');
  const fields = {
    subject: mail.subject,
    from_hdr: 'Service <service@sender.example>',
    mail_from: 'bounce@sender.example',
    to_hdr: mail.domains.map((domain) => `office@${domain}`).join(', '),
    date_hdr: new Date().toUTCString(),
    size: `${900 + randomBelow(world, 9000)}`,
    sha256,
    stored_as,
  };
  await logLine(world, { attacker, decky: MAIL_DECKY, service: 'smtp' }, 'message_stored', 'mail kept', fields);
  await tell(world, topics.email('received'), 'received', {
    source_id: newEventId(),
    attacker_uuid: attacker.uuid,
    attacker_ip: attacker.ip,
    decky_id: MAIL_DECKY,
    service: 'smtp',
    subject: mail.subject,
    from_domain: 'sender.example',
    mail_from_domain: 'sender.example',
    return_path_domain: 'sender.example',
    rcpt_count: mail.domains.length,
    rcpt_domains: mail.domains,
    x_mailer: null,
    dkim_signed: false,
    spf_pass: false,
    urls: [],
    attachment_count: 0,
    attachment_sha256s: [],
    attachment_extensions: [],
    body_simhash: null,
    body_base64_bytes: 0,
    attachment_macros: false,
    attachment_password_protected: false,
    html_smuggling: false,
    stored_as,
    body_sha256: sha256,
  });
};

/** What is known of an identity's behaviour settles, or does not. */
export const attributionChanges: DemoAct = async (world) => {
  const attacker = await pickAttacker(world);
  const observed = pick(world, PRIMITIVES);
  if (attacker?.identity_id === undefined || attacker.identity_id === null || observed === undefined) return;
  await tell(world, topics.attribution('profile.state_changed'), 'profile.state_changed', {
    identity_uuid: attacker.identity_id,
    primitive: observed.primitive,
    old_state: null,
    new_state: pick(world, ['stable', 'stable', 'drifting', 'conflicted', 'multi_actor']) ?? 'stable',
    current_value: pick<string>(world, observed.values) ?? observed.values[0],
    confidence: Math.round(50 + world.random() * 50) / 100,
    observation_count: 3 + randomBelow(world, 40),
    ts: Date.now() / 1000,
  });
};

/** As DECNET names what it keeps (contract P1.2). */
function storedAs(sha256: string, name: string): string {
  return `${new Date().toISOString().slice(0, 19)}Z_${sha256.slice(0, 12)}_${name}`;
}

function digestOf(text: string): string {
  return new Bun.CryptoHasher('sha256').update(text).digest('hex');
}
