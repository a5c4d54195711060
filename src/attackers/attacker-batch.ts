import { sql } from 'kysely';
import type { JsonObject } from '../bus/event.ts';
import { topics } from '../bus/topic.ts';
import type { Engine, Trx } from '../db/database.ts';
import { type ColumnTypes, insertRows, rowsOf } from '../db/insert-rows.ts';
import { isOneOf } from '../db/one-of.ts';
import type { AttackerRow } from '../db/schema.ts';
import { addToCounters } from '../projection/counters.ts';
import type { Limits } from '../projection/keep.ts';
import { isoOf, jsonText, objectsOf, textOf, textsOf, timeOf } from '../projection/payload.ts';
import type { LoggedEvent } from '../projection/projection.ts';
import { Roster } from '../projection/roster.ts';
import { AttackerDraft, SIGHTING, type TriedCommand } from './attacker-draft.ts';
import { Names, uuidOfAddress } from './attacker-names.ts';
import { addTargets, saveContacts } from './attacker-parts.ts';
import { leavingOf, removeAllLeft, removeAttacker, removeUuids } from './attacker-removal.ts';
import { attributionOf, OBSERVATION, observationOf, saveAttribution, saveObservation } from './observations.ts';

const SESSION_ENDED = topics.attacker('session.ended');
export const MAIL_RECEIVED = 'email.received';
/** Of one mail. */
const MOST_DOMAINS = 100;
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

export const COMMANDS = {
  table: 'attacker_commands',
  columns: { ip: 'text', timestamp: 'text', service: 'text', decky: 'text', command: 'text', session_id: 'text' },
} as const;

/** The attackers that a batch of events concerns, read once and written once. */
export class Batch {
  readonly #trx: Trx;
  readonly #engine: Engine;
  readonly #drafts: Map<string, AttackerDraft>;
  readonly #names: Names;
  readonly #attackers: Roster;
  readonly #uuids: Roster;
  readonly #attributed: Roster;
  /** Of whom something is left from before they went. */
  readonly #leaving: Set<string>;
  #commands: (TriedCommand & { ip: string; session_id: string | null })[] = [];

  private constructor(
    trx: Trx,
    engine: Engine,
    limits: Limits,
    drafts: Map<string, AttackerDraft>,
    leaving: Set<string>,
  ) {
    this.#trx = trx;
    this.#engine = engine;
    this.#drafts = drafts;
    this.#leaving = leaving;
    this.#names = new Names(trx, engine);
    this.#attackers = new Roster(trx, engine, 'attackers', limits.attackers);
    this.#uuids = new Roster(trx, engine, 'attacker_uuids', limits.attacker_uuids);
    this.#attributed = new Roster(trx, engine, 'attributed', limits.attributed);
  }

  static async open(trx: Trx, engine: Engine, limits: Limits, events: readonly LoggedEvent[]): Promise<Batch> {
    const ips = [...new Set(events.flatMap(({ payload }) => addressOf(payload) ?? []))];
    const drafts = new Map<string, AttackerDraft>();
    if (ips.length > 0) {
      const rows = await trx
        .selectFrom('attackers')
        .selectAll()
        .where(isOneOf(engine, 'ip', ips))
        .execute();
      for (const row of rows) drafts.set(row.ip, new AttackerDraft(row));
    }
    const batch = new Batch(trx, engine, limits, drafts, await leavingOf(trx, ips));
    await batch.#attackers.load(ips);
    const strangers = ips.flatMap((ip) => (drafts.has(ip) ? [] : uuidOfAddress(ip)));
    const named = [...strangers, ...events.flatMap(({ payload }) => nameIn(payload) ?? [])];
    await batch.#names.load(named);
    await batch.#uuids.load(named);
    return batch;
  }

  /** @returns false when the event held nothing that can be used */
  async apply(event: LoggedEvent): Promise<boolean> {
    const { topic, payload } = event;
    if (topic.startsWith(OBSERVATION)) return this.#observed(event);
    if (topic.startsWith('attribution.')) {
      return this.#attributes(event);
    }
    if (topic.startsWith('identity.')) return this.#bound(payload);
    const ip = addressOf(payload);
    if (ip === undefined) return false;
    const draft = await this.#draftOf(ip, nameIn(payload), event);
    await this.#change(draft, event);
    return true;
  }

  async #attributes(event: LoggedEvent): Promise<boolean> {
    const attribution = attributionOf(event);
    if (attribution === undefined) return false;
    await saveAttribution(this.#trx, attribution);
    const gone = await this.#attributed.tell([attribution.identity_uuid]);
    if (gone.length > 0) await this.#trx.deleteFrom('attributions').where('identity_uuid', 'in', gone).execute();
    return true;
  }

  async save(): Promise<void> {
    await this.#names.flush();
    for (const roster of [this.#attackers, this.#uuids, this.#attributed]) await roster.save();
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
        return addTargets(
          this.#trx,
          draft.row.ip,
          textsOf(payload, 'rcpt_domains', { most: MOST_DOMAINS, length: 255 }),
          at,
        );
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
    await this.#named([observation.attacker_uuid]);
    const ip = addressOf(event.payload);
    if (ip !== undefined) await this.#draftOf(ip, observation.attacker_uuid, event);
    return true;
  }

  /** `identity.formed` and `identity.observation.linked` name attackers by uuid. */
  async #bound(payload: JsonObject): Promise<boolean> {
    const identity = textOf(payload, 'identity_uuid', 128);
    const linked = textOf(payload, 'observation_uuid', 128);
    const uuids = linked === undefined ? textsOf(payload, 'observation_uuids', { length: 128 }) : [linked];
    if (identity === undefined || uuids.length === 0) return false;
    await this.#names.bind(uuids, identity);
    await this.#named(uuids);
    await this.#trx.updateTable('attackers').set({ identity_id: identity }).where('uuid', 'in', uuids).execute();
    for (const draft of this.#drafts.values()) {
      if (uuids.includes(draft.row.uuid)) draft.belongsTo(identity);
    }
    return true;
  }

  /** The attacker at an address, who takes the uuid that a producer has for him. */
  async #draftOf(ip: string, told: string | undefined, event: LoggedEvent): Promise<AttackerDraft> {
    for (const gone of await this.#attackers.tell([ip])) await this.#leave(gone);
    const found = this.#drafts.get(ip);
    if (found !== undefined && (told === undefined || told === found.row.uuid)) return found;
    const uuid = (await this.#freeName(ip, told)) ?? found?.row.uuid ?? (await this.#ownName(ip));
    if (found === undefined && this.#leaving.delete(ip)) await removeAllLeft(this.#trx, ip);
    const draft = found ?? AttackerDraft.of(uuid, ip, isoOf(event.ts));
    this.#drafts.set(ip, draft);
    if (found !== undefined && uuid === found.row.uuid) return draft;
    this.#names.name(uuid, ip);
    if (found !== undefined) await this.#rename(ip, uuid);
    draft.isCalled(uuid);
    await this.#named([uuid]);
    const identity = await this.#names.knownOf(uuid);
    if (identity?.identityUuid) draft.belongsTo(identity.identityUuid);
    return draft;
  }

  /** What a producer calls the attacker, unless that is another one, or he has names enough. */
  async #freeName(ip: string, told: string | undefined): Promise<string | undefined> {
    if (told === undefined || !(await this.#isFree(told, ip))) return undefined;
    return (await this.#names.hasEnough(told, ip)) ? undefined : told;
  }

  async #rename(ip: string, uuid: string): Promise<void> {
    await this.#names.flush();
    await this.#trx.updateTable('attackers').set({ uuid }).where('ip', '=', ip).execute();
    this.#names.forget();
  }

  /** A name that follows from the address; somebody may have told of it as another one's. */
  async #ownName(ip: string): Promise<string> {
    for (let turn = 1; ; turn += 1) {
      const uuid = uuidOfAddress(turn === 1 ? ip : `${ip} ${turn}`);
      if (await this.#isFree(uuid, ip)) return uuid;
    }
  }

  async #isFree(uuid: string, ip: string): Promise<boolean> {
    const known = await this.#names.knownOf(uuid);
    if (known !== undefined && known.ip !== null) return known.ip === ip;
    for (const { row } of this.#drafts.values()) if (row.uuid === uuid) return row.ip === ip;
    const owner = await this.#names.ownerOf(uuid);
    return owner === undefined || owner === ip;
  }

  /** Notes that attackers were told of by their names; what is known by other names may have to go. */
  async #named(uuids: readonly string[]): Promise<void> {
    const gone = await this.#uuids.tell(uuids);
    if (gone.length === 0) return;
    await this.#names.flush();
    await removeUuids(this.#trx, gone);
    this.#names.forget();
  }

  /** An attacker goes with all parts of him, those of this batch, too. */
  async #leave(ip: string): Promise<void> {
    this.#drafts.delete(ip);
    this.#commands = this.#commands.filter((command) => command.ip !== ip);
    await this.#names.flush();
    await this.#uuids.strike(await removeAttacker(this.#trx, ip));
    this.#names.forget();
    if ((await leavingOf(this.#trx, [ip])).has(ip)) this.#leaving.add(ip);
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

/** What a producer calls the attacker. */
const nameIn = (payload: JsonObject) => textOf(payload, 'attacker_uuid', 128);

function addressOf(payload: JsonObject): string | undefined {
  const ip = textOf(payload, 'attacker_ip', 64);
  return ip === UNKNOWN ? undefined : ip;
}
