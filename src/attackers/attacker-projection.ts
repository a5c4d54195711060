import { sql } from 'kysely';
import type { JsonObject } from '../bus/event.ts';
import { topics } from '../bus/topic.ts';
import type { Engine, Trx } from '../db/database.ts';
import { type ColumnTypes, insertRows, rowsOf } from '../db/insert-rows.ts';
import type { AttackerRow } from '../db/schema.ts';
import { addToCounters } from '../projection/counters.ts';
import { isoOf, jsonText, objectsOf, textOf, textsOf, timeOf } from '../projection/payload.ts';
import { applyEach, type LoggedEvent, type Projection } from '../projection/projection.ts';
import type { KeptRows } from '../projection/retention.ts';
import { AttackerDraft, SIGHTING, type TriedCommand } from './attacker-draft.ts';
import { bindToIdentity, knownOf, nameAttacker, uuidOfAddress } from './attacker-names.ts';
import { addTargets, saveContacts } from './attacker-parts.ts';
import { attributionOf, observationOf, saveAttribution, saveObservation } from './observations.ts';

export const ATTACKER_PROJECTION = 'attackers';

const SESSION_ENDED = topics.attacker('session.ended');
const MAIL_RECEIVED = 'email.received';
/** Of one mail. */
const MOST_DOMAINS = 100;
const OBSERVATION = 'attacker.observation.';
/** Of one session. */
const MOST_COMMANDS = 1000;
/** What the collector says where it knows no address. */
const UNKNOWN = 'Unknown';

const ATTACKERS = {
  table: 'attackers',
  columns: {
    uuid: 'text',
    ip: 'text',
    identity_id: 'text',
    first_seen: 'text',
    last_seen: 'text',
    event_count: 'integer',
    service_count: 'integer',
    decky_count: 'integer',
    services: 'text',
    deckies: 'text',
    traversal_path: 'text',
    is_traversal: 'integer',
    bounty_count: 'integer',
    credential_count: 'integer',
    fingerprints: 'text',
    commands: 'text',
    country_code: 'text',
    country_source: 'text',
    asn: 'integer',
    as_name: 'text',
    bgp_prefix: 'text',
    asn_source: 'text',
    rpki_status: 'text',
    rpki_source: 'text',
    ptr_record: 'text',
    rotation_count: 'integer',
    last_rotation_at: 'text',
    ipv6_leak_count: 'integer',
    last_ipv6_leak_at: 'text',
    last_ipv6_link_local: 'text',
    last_ipv6_iid_kind: 'text',
    last_ipv6_mac_oui: 'text',
    updated_at: 'text',
  } satisfies Record<keyof AttackerRow, ColumnTypes[string]>,
} as const;

const COMMANDS = {
  table: 'attacker_commands',
  columns: { ip: 'text', timestamp: 'text', service: 'text', decky: 'text', command: 'text', session_id: 'text' },
} as const;

const keptCommands: KeptRows = {
  kind: 'commands',
  table: COMMANDS.table,
  order: ['timestamp', 'seq'],
  counter: COMMANDS.table,
  async remove(trx, ids) {
    await trx.deleteFrom(COMMANDS.table).where('seq', 'in', ids.map(Number)).execute();
    await addToCounters(trx, { [COMMANDS.table]: -ids.length });
  },
};

/** Attackers with all that is told of them (contract §1.3, §6.3, §6.4). */
export const attackerProjection = (engine: Engine): Projection => ({
  name: ATTACKER_PROJECTION,
  version: 1,
  topics: [
    'attacker.>',
    'attribution.>',
    topics.system('log'),
    topics.credential('captured'),
    MAIL_RECEIVED,
    topics.identity('formed'),
    topics.identity('observation.linked'),
  ],
  channels: ['attacker', 'attribution'],
  kept: [keptCommands],
  async apply(trx, events) {
    const batch = await Batch.open(trx, engine, events);
    const skipped = await applyEach(events, (event) => batch.apply(event));
    await batch.save();
    return skipped;
  },
  async clear(trx) {
    await trx.deleteFrom('attackers').execute();
    await trx.deleteFrom('attacker_uuids').execute();
    await trx.deleteFrom('attacker_commands').execute();
    await trx.deleteFrom('attacker_services').execute();
    await trx.deleteFrom('attacker_smtp_targets').execute();
    await trx.deleteFrom('observations').execute();
    await trx.deleteFrom('attributions').execute();
    await trx.deleteFrom('attacker_intel').execute();
    await trx.deleteFrom('counters').where('name', '=', COMMANDS.table).execute();
  },
});

/** The attackers that a batch of events concerns, read once and written once. */
class Batch {
  readonly #trx: Trx;
  readonly #engine: Engine;
  readonly #drafts: Map<string, AttackerDraft>;
  readonly #commands: (TriedCommand & { ip: string; session_id: string | null })[] = [];

  private constructor(trx: Trx, engine: Engine, drafts: Map<string, AttackerDraft>) {
    this.#trx = trx;
    this.#engine = engine;
    this.#drafts = drafts;
  }

  static async open(trx: Trx, engine: Engine, events: readonly LoggedEvent[]): Promise<Batch> {
    const ips = [...new Set(events.flatMap(({ payload }) => addressOf(payload) ?? []))];
    const drafts = new Map<string, AttackerDraft>();
    if (ips.length > 0) {
      const rows = await trx.selectFrom('attackers').selectAll().where('ip', 'in', ips).execute();
      for (const row of rows) drafts.set(row.ip, new AttackerDraft(row));
    }
    return new Batch(trx, engine, drafts);
  }

  /** @returns false when the event held nothing that can be used */
  async apply(event: LoggedEvent): Promise<boolean> {
    const { topic, payload } = event;
    if (topic.startsWith(OBSERVATION)) return this.#observed(event);
    if (topic.startsWith('attribution.')) {
      const attribution = attributionOf(event);
      if (attribution !== undefined) await saveAttribution(this.#trx, attribution);
      return attribution !== undefined;
    }
    if (topic.startsWith('identity.')) return this.#bound(payload);
    const ip = addressOf(payload);
    if (ip === undefined) return false;
    const draft = await this.#draftOf(ip, textOf(payload, 'attacker_uuid', 128), event);
    await this.#change(draft, event);
    return true;
  }

  async save(): Promise<void> {
    const drafts = [...this.#drafts.values()];
    await save(
      this.#trx,
      this.#engine,
      drafts.flatMap((draft) => (draft.isNews ? draft.finished() : [])),
    );
    await saveSightings(
      this.#trx,
      this.#engine,
      drafts.flatMap((draft) => (draft.isNews ? [] : draft.row)),
    );
    await insertRows(this.#trx, this.#engine, COMMANDS, this.#commands);
    const met = drafts.flatMap((draft) => draft.contacts().map((contact) => ({ ...contact, ip: draft.row.ip })));
    await saveContacts(this.#trx, this.#engine, met);
    await addToCounters(this.#trx, { [COMMANDS.table]: this.#commands.length });
  }

  async #change(draft: AttackerDraft, event: LoggedEvent): Promise<void> {
    const { topic, payload, type } = event;
    const at = isoOf(event.ts);
    const [decky, service] = [textOf(payload, 'decky', 255), textOf(payload, 'service', 255)];
    switch (topic) {
      case 'system.log':
        draft.seen(timeOf(payload, 'timestamp') ?? at);
        return draft.touched(decky, service, textOf(payload, 'event_type', 255) ?? type);
      case 'attacker.observed':
        draft.seen(timeOf(payload, 'first_seen') ?? at);
        return;
      case 'attacker.scored':
        draft.seen(at);
        return draft.scored(payload);
      case 'attacker.fingerprinted':
        draft.fingerprint(type, payload);
        return type === 'ipv6_leak' ? draft.leakedIpv6(payload, timeOf(payload, 'observed_at') ?? at) : undefined;
      case 'attacker.fingerprint_rotated':
        return draft.rotated(payload, timeOf(payload, 'ts') ?? at);
      case 'credential.captured':
        draft.seen(at);
        return draft.credential(service);
      case MAIL_RECEIVED:
        draft.seen(at);
        return addTargets(this.#trx, draft.row.ip, textsOf(payload, 'rcpt_domains', MOST_DOMAINS), at);
      case SESSION_ENDED:
        return this.#ended(draft, payload, timeOf(payload, 'ended_at') ?? at);
      case 'attacker.intel.enriched':
        return this.#enriched(draft, payload, at);
      default:
        return draft.seen(at);
    }
  }

  #ended(draft: AttackerDraft, payload: JsonObject, at: string): void {
    draft.seen(at);
    const [decky, service] = [textOf(payload, 'decky_id', 255) ?? '', textOf(payload, 'service', 255) ?? ''];
    const session_id = textOf(payload, 'session_id', 128) ?? null;
    for (const tried of objectsOf(payload, 'commands', MOST_COMMANDS)) {
      const text = textOf(tried, 'command_text', 4096);
      if (text === undefined) continue;
      const command = {
        service: textOf(tried, 'service', 255) ?? service,
        decky: textOf(tried, 'decky', 255) ?? decky,
        command: text,
        timestamp: timeOf(tried, 'ts') ?? at,
      };
      draft.command(command);
      this.#commands.push({ ...command, ip: draft.row.ip, session_id });
    }
  }

  async #enriched(draft: AttackerDraft, payload: JsonObject, at: string): Promise<void> {
    const row = { attacker_uuid: draft.row.uuid, intel: jsonText(payload, '{}', 65_536), updated_at: at };
    await this.#trx
      .insertInto('attacker_intel')
      .values(row)
      .onConflict((conflict) => conflict.column('attacker_uuid').doUpdateSet(row))
      .execute();
  }

  async #observed(event: LoggedEvent): Promise<boolean> {
    const observation = observationOf(event);
    if (observation === undefined) return false;
    await saveObservation(this.#trx, observation);
    const ip = addressOf(event.payload);
    if (ip !== undefined) await this.#draftOf(ip, observation.attacker_uuid, event);
    return true;
  }

  /** `identity.formed` and `identity.observation.linked` name attackers by uuid. */
  async #bound(payload: JsonObject): Promise<boolean> {
    const identity = textOf(payload, 'identity_uuid', 128);
    const linked = textOf(payload, 'observation_uuid', 128);
    const uuids = linked === undefined ? textsOf(payload, 'observation_uuids') : [linked];
    if (identity === undefined || uuids.length === 0) return false;
    await bindToIdentity(this.#trx, uuids, identity);
    await this.#trx.updateTable('attackers').set({ identity_id: identity }).where('uuid', 'in', uuids).execute();
    for (const draft of this.#drafts.values()) {
      if (uuids.includes(draft.row.uuid)) draft.belongsTo(identity);
    }
    return true;
  }

  /** The attacker at an address, who takes the uuid that a producer has for him. */
  async #draftOf(ip: string, told: string | undefined, event: LoggedEvent): Promise<AttackerDraft> {
    const found = this.#drafts.get(ip);
    if (found !== undefined && (told === undefined || told === found.row.uuid)) return found;
    const known = told === undefined ? undefined : (await knownOf(this.#trx, [told])).get(told);
    // A uuid that is another attacker's stays his.
    const isFree = told !== undefined && (known === undefined || known.ip === null || known.ip === ip);
    const uuid = isFree ? told : (found?.row.uuid ?? uuidOfAddress(ip));
    const draft = found ?? AttackerDraft.of(uuid, ip, isoOf(event.ts));
    this.#drafts.set(ip, draft);
    if (found !== undefined && uuid === found.row.uuid) return draft;
    await nameAttacker(this.#trx, uuid, ip);
    if (found !== undefined) await this.#trx.updateTable('attackers').set({ uuid }).where('ip', '=', ip).execute();
    draft.isCalled(uuid);
    const identity = isFree ? known : (await knownOf(this.#trx, [uuid])).get(uuid);
    if (identity?.identityUuid) draft.belongsTo(identity.identityUuid);
    return draft;
  }
}

async function save(trx: Trx, engine: Engine, rows: readonly AttackerRow[]): Promise<void> {
  const updates = Object.keys(ATTACKERS.columns)
    .filter((name) => name !== 'ip')
    .map((name) => sql`${sql.ref(name)} = ${sql.ref(`excluded.${name}`)}`);
  await insertRows(trx, engine, ATTACKERS, rows, sql`on conflict (ip) do update set ${sql.join(updates)}`);
}

/** Most events say no more than that he was there again: writing all of his row for each is most of what they cost. */
async function saveSightings(trx: Trx, engine: Engine, rows: readonly AttackerRow[]): Promise<void> {
  if (rows.length === 0) return;
  const { columns } = ATTACKERS;
  const sightings = Object.fromEntries(['ip' as const, ...SIGHTING].map((name) => [name, columns[name]]));
  const changed = rowsOf(
    engine,
    sightings,
    rows.map(({ ip, first_seen, last_seen, event_count, updated_at }) => ({
      ...{ ip, first_seen, last_seen, event_count, updated_at },
    })),
  );
  const updates = SIGHTING.map((name) => sql`${sql.ref(name)} = ${sql.ref(`changed.${name}`)}`);
  await sql`update attackers set ${sql.join(updates)} from (${changed}) as changed
    where attackers.ip = changed.ip`.execute(trx);
}

function addressOf(payload: JsonObject): string | undefined {
  const ip = textOf(payload, 'attacker_ip', 64);
  return ip === UNKNOWN ? undefined : ip;
}
