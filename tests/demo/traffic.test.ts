import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { Event, JsonObject } from '../../src/bus/event.ts';
import { matcher } from '../../src/bus/topic.ts';
import { formIdentity, linkObservation } from '../../src/demo/identity-acts.ts';
import { seedDemo } from '../../src/demo/seed.ts';
import { seedAttackers } from '../../src/demo/seed-attackers.ts';
import { changeServices, mutateTopology } from '../../src/demo/topology-acts.ts';
import { startDemoTraffic } from '../../src/demo/traffic.ts';
import type { DemoAct, DemoWorld } from '../../src/demo/world.ts';
import { allProjections } from '../../src/projection/start.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';

/** The payload keys of contract §1.3, by topic with the name of the decky or topology replaced by `*`. */
const KEYS: Record<string, string[]> = {
  'topology.*.mutation.enqueued': ['mutation_id', 'op', 'payload'],
  'decky.*.service_added': ['decky_name', 'service_name', 'topology_id', 'services'],
  'decky.*.service_removed': ['decky_name', 'service_name', 'topology_id', 'services'],
  'decky.*.state': ['host_uuid', 'name', 'state', 'transition', 'source'],
  'decky.*.traffic': ['src_ip', 'src_port', 'dst_ip', 'dst_port'],
  'identity.formed': ['identity_uuid', 'observation_uuids'],
  'identity.observation.linked': ['identity_uuid', 'observation_uuid'],
  'attacker.observed': ['attacker_ip', 'decky', 'service', 'event_type', 'first_seen'],
  'attacker.scored': [
    'attacker_uuid',
    ...['attacker_ip', 'event_count', 'service_count', 'decky_count', 'bounty_count', 'credential_count'],
    'is_traversal',
  ],
  'system.log': [...['decky', 'service', 'event_type', 'attacker_ip', 'timestamp', 'raw_line', 'fields', 'msg']],
  'credential.captured': ['secret_sha256', 'secret_kind', 'attacker_ip', 'decky', 'service'],
  'attacker.session.ended': [
    ...['session_id', 'attacker_uuid', 'attacker_ip', 'decky_id', 'service', 'ended_at', 'duration_s', 'commands'],
    'shard_path',
  ],
  'campaign.formed': ['campaign_uuid', 'identity_uuids'],
  'identity.campaign.assigned': ['identity_uuid', 'campaign_uuid', 'prior_campaign_uuid'],
  'orchestrator.traffic.*': [
    ...['kind', 'protocol', 'action', 'src_decky_uuid', 'dst_decky_uuid', 'success', 'payload', 'ts'],
  ],
  'orchestrator.file.*': [
    ...['kind', 'protocol', 'action', 'src_decky_uuid', 'dst_decky_uuid', 'success', 'payload', 'ts'],
  ],
  'orchestrator.email.*': [
    ...['kind', 'mail_decky_uuid', 'thread_id', 'message_id', 'in_reply_to', 'sender_email', 'recipient_email'],
    ...['subject', 'language', 'success', 'ts'],
  ],
  'attacker.fingerprinted': ['attacker_ip'],
  'attacker.intel.enriched': [
    ...['attacker_uuid', 'attacker_ip', 'aggregate_verdict', 'providers', 'abuseipdb_score', 'abuseipdb_categories'],
    ...['greynoise_classification', 'greynoise_name', 'greynoise_tags', 'feodo_listed', 'feodo_malware_family'],
    ...['threatfox_listed', 'threatfox_threat_types', 'threatfox_ioc_types', 'threatfox_malware_families'],
  ],
  'email.received': [
    ...['source_id', 'attacker_uuid', 'attacker_ip', 'decky_id', 'service', 'subject', 'from_domain'],
    ...['mail_from_domain', 'return_path_domain', 'rcpt_count', 'rcpt_domains', 'x_mailer', 'dkim_signed', 'spf_pass'],
    ...['urls', 'attachment_count', 'attachment_sha256s', 'attachment_extensions', 'body_simhash', 'body_base64_bytes'],
    ...['attachment_macros', 'attachment_password_protected', 'html_smuggling', 'stored_as', 'body_sha256'],
  ],
  'attribution.profile.state_changed': [
    ...['identity_uuid', 'primitive', 'old_state', 'new_state', 'current_value', 'confidence', 'observation_count'],
    'ts',
  ],
  'attacker.observation.*': [
    ...['identity_ref', 'primitive', 'value', 'confidence', 'window', 'source', 'evidence_ref'],
    ...['id', 'ts', 'v', 'attacker_uuid'],
  ],
};
const MORE_KEYS: Record<string, string[]> = {
  'attacker.fingerprinted': [
    ...['port', 'jarm_hash', 'hassh_server', 'ssh_banner', 'tcpfp_hash', 'ttl', 'mss'],
    ...['subject_cn', 'cert_sha256', 'self_signed', 'icmp_matrix', 'icmp_fp_hash', 'errors', 'observed_at'],
  ],
  // Only once there are campaigns enough.
  'campaign.identity.assigned': ['campaign_uuid', 'identity_uuid', 'prior_campaign_uuid'],
  'decky.*.state': ['previous_state'],
  'decky.*.traffic': [
    ...['ssh_version', 'packets', 'bytes', 'duration_s', 'mean_iat_ms', 'min_iat_ms', 'max_iat_ms', 'retransmits'],
  ],
};
const TYPES: Record<string, string[]> = {
  'topology.*.mutation.enqueued': ['enqueued'],
  'decky.*.service_added': [''],
  'decky.*.service_removed': [''],
  'decky.*.state': ['state'],
  'decky.*.traffic': ['ssh_client_banner', 'tcp_flow_timing'],
  'identity.formed': ['formed'],
  'identity.observation.linked': ['observation.linked'],
  'attacker.observed': ['observed'],
  'attacker.scored': ['scored'],
  'system.log': [...['connection', 'login_attempt', 'command', 'session_recorded', 'file_captured', 'message_stored']],
  'attacker.fingerprinted': ['jarm', 'hassh', 'tcpfp', 'tls_certificate', 'icmp_error'],
  'attacker.intel.enriched': ['intel.enriched'],
  'email.received': ['received'],
  'attribution.profile.state_changed': ['profile.state_changed'],
  'credential.captured': ['captured'],
  'attacker.session.ended': ['session.ended'],
  'campaign.formed': ['formed'],
  'campaign.identity.assigned': ['identity.assigned'],
  'identity.campaign.assigned': ['campaign.assigned'],
  'orchestrator.traffic.*': ['traffic'],
  'orchestrator.file.*': ['file'],
  'orchestrator.email.*': ['email'],
  'attacker.observation.*': [
    ...['temporal.session_pace', 'motor.input_modality', 'operational.objective', 'cognitive.feedback_loop_engagement'],
  ],
};

/** Numbers from 0 to below 1 that are the same in every run (mulberry32). */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function family(topic: string): string {
  return topic
    .replace(/^(topology|decky)\.[^.]+/, '$1.*')
    .replace(/^(orchestrator\.\w+)\..+/, '$1.*')
    .replace(/^attacker\.observation\..+/, 'attacker.observation.*');
}

for (const engine of ENGINES) {
  describe(`demonstration traffic (${engine})`, () => {
    let database: TestDatabase;
    let published: Event[];
    let commits: number;
    let world: DemoWorld;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
      await seedDemo(database.db, Date.parse('2026-11-21T08:00:00.000Z'));
      await project(seedAttackers(Date.parse('2026-11-21T08:00:00.000Z')));
      published = [];
      commits = 0;
      published = [];
      world = {
        db: database.db,
        publish,
        onCommitted: () => {
          commits += 1;
        },
        random: seededRandom(7),
      };
    });
    afterEach(() => database.dispose());

    const project = (events: readonly Event[]) =>
      database.db.transaction().execute(async (trx) => {
        for (const projection of allProjections(engine)) {
          const wanted = events.filter(({ topic }) => matcher(projection.topics)(topic));
          const logged = wanted.map((event, index) => ({
            ...{ ...event, epoch: event.id },
            offsetIn: () => index + 1,
          }));
          if (logged.length > 0) await projection.apply(trx, logged);
        }
      });
    /** What events tell is in the read models at once. */
    const publish = async (event: Event) => {
      published.push(event);
      await project([event]);
    };
    const repeat = async (act: DemoAct, times: number) => {
      for (let time = 0; time < times; time += 1) await act(world);
    };
    const outbox = () => database.db.selectFrom('outbox').selectAll().orderBy('seq').execute();
    const mutations = () => database.db.selectFrom('topology_mutations').selectAll().execute();

    test('shows every family, each event with the type and the keys of the contract', async () => {
      const traffic = startDemoTraffic({ ...world, logger: quiet, intervalMs: 0 });
      const committed = async () => (await outbox()).map(({ topic, type, payload }) => ({ topic, type, payload }));
      await until('an event of every family', async () => {
        const seen = [...published, ...(await committed())].map(({ topic }) => family(topic));
        return Object.keys(KEYS).every((known) => seen.includes(known));
      });
      await traffic.stop();
      const stored = (await committed()).map(({ topic, type, payload }) => {
        const decoded: JsonObject = JSON.parse(payload);
        return { topic, type, payload: decoded };
      });
      for (const { topic, type, payload } of [...published, ...stored]) {
        const known = family(topic);
        expect(TYPES[known]).toContain(type);
        const keys = Object.keys(payload);
        expect(keys).toEqual(expect.arrayContaining(KEYS[known] ?? []));
        expect([...(KEYS[known] ?? []), ...(MORE_KEYS[known] ?? [])]).toEqual(expect.arrayContaining(keys));
        if (known === 'decky.*.traffic')
          expect(Object.values(payload).every((value) => typeof value === 'string')).toBe(true);
      }
      expect(commits).toBe(stored.length);
    });

    test('stops after the act under way and does nothing more', async () => {
      let release = () => {};
      const traffic = startDemoTraffic({
        ...world,
        logger: quiet,
        intervalMs: 0,
        random: () => 0.99, // the last act: an attacker's behaviour, which publishes
        publish: (event) => {
          published.push(event);
          return new Promise<void>((resolve) => {
            release = resolve;
          });
        },
      });
      await until('an act under way', () => published.length > 0);
      let stopped = false;
      const stopping = traffic.stop().then(() => {
        stopped = true;
      });
      await Promise.resolve();
      expect(stopped).toBe(false);
      release();
      await stopping;
      await traffic.stop();
      expect(published).toHaveLength(1);
    });

    test('logs an act that fails and goes on', async () => {
      const lines: string[] = [];
      const traffic = startDemoTraffic({
        ...world,
        logger: createLog('warn', (line) => lines.push(line)),
        intervalMs: 0,
        random: () => 0.99,
        publish: async (event) => {
          published.push(event);
          if (published.length < 3) throw new Error('Redis is away');
        },
      });
      await until('a success after failures', () => published.length > 3);
      await traffic.stop();
      expect(lines).toHaveLength(2);
      for (const line of lines) expect(line).toContain('Redis is away');
    });

    test('lets no more than ten mutations of a topology wait', async () => {
      await repeat(mutateTopology, 60);
      const waiting = Map.groupBy(await mutations(), (row) => row.topology_id);
      expect([...waiting.values()].map((rows) => rows.length)).toEqual([10, 10, 10]);
      expect(commits).toBe(30);
      expect(await outbox()).toHaveLength(30);
    });

    test('keeps a bounded history of mutations and goes on counting', async () => {
      for (let round = 0; round < 25; round += 1) {
        await repeat(mutateTopology, 40);
        await database.db.updateTable('topology_mutations').set({ state: 'applied' }).execute();
      }
      const rows = await mutations();
      for (const [, own] of Map.groupBy(rows, (row) => row.topology_id)) {
        const places = own.map((row) => row.queue_position).sort((a, b) => a - b);
        expect(places.at(-1)).toBeGreaterThan(210);
        expect(places.length).toBeLessThanOrEqual(210);
      }
    }, 30_000);

    test('changes the services of a decky together with the event that tells it', async () => {
      await repeat(changeServices, 30);
      const deckies = await database.db.selectFrom('topology_deckies').selectAll().execute();
      const told = new Map<string, string>();
      for (const row of await outbox()) {
        const payload: { decky_name: string; topology_id: string; services: string[] } = JSON.parse(row.payload);
        told.set(`${payload.topology_id} ${payload.decky_name}`, JSON.stringify(payload.services));
        expect(payload.services.length).toBeWithin(1, 6);
      }
      expect(told.size).toBeGreaterThan(5);
      for (const [key, services] of told) {
        expect(deckies.find((row) => `${row.topology_id} ${row.name}` === key)?.services).toBe(services);
      }
    });

    test('tells of no more than sixty identities and three hundred attackers, and then of those that there are', async () => {
      const { db } = database;
      const at = '2026-11-21T08:00:00.000Z';
      const times = { first_seen: at, last_seen: at, updated_at: at };
      const attackers = Array.from({ length: 300 }, (_, n) => ({
        ...{ uuid: `a-${n}`, ip: `198.18.${n}.1`, identity_id: `i-${n % 60}`, ...times },
      }));
      const identities = Array.from({ length: 60 }, (_, n) => ({
        ...{ uuid: `i-${n}`, created_at: at, updated_at: at, observation_count: 5 },
      }));
      await db.insertInto('attackers').values(attackers).execute();
      await db.insertInto('attacker_identities').values(identities).execute();
      await formIdentity(world);
      expect(published).toEqual([]);
      await linkObservation(world);
      expect(published.at(-1)?.topic).toBe('identity.observation.linked');
      // Nobody new.
      const there = await db.selectFrom('attackers').select('uuid').execute();
      expect(there).toHaveLength(318);
      expect(there.map(({ uuid }) => uuid)).toContain(String(published.at(-1)?.payload.observation_uuid));
    });
  });
}
