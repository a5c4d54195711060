import type { Json, JsonObject } from '../bus/event.ts';
import { isJsonObject } from '../bus/event.ts';
import type { AttackerRow, Bit } from '../db/schema.ts';
import { countOf, jsonText, MAX_COUNT, numberOf, storable, textOf } from '../projection/payload.ts';
import { CONTACT, type Contact, contactOf } from './contact.ts';

/** How many of each are kept in an attacker's row; the newest commands and fingerprints, the first of the others. */
const MOST = { services: 100, deckies: 200, fingerprints: 50, commands: 50 } as const;

/** Characters of one fingerprint, as JSON. */
const MOST_FINGERPRINT = 16_384;

/** A command as it stands in an attacker's row (contract P5). */
export interface TriedCommand {
  readonly service: string;
  readonly decky: string;
  readonly command: string;
  readonly timestamp: string;
}

/** What nearly every event changes of an attacker whom it is not news about: when he was seen, and how often. */
export const SIGHTING = ['first_seen', 'last_seen', 'event_count', 'updated_at'] as const;

/** An attacker's row while a batch of events changes it. */
export class AttackerDraft {
  readonly row: AttackerRow;
  readonly #services: Set<string>;
  readonly #deckies: Set<string>;
  /** Of the batch. */
  readonly #contacts = new Map<string, Contact>();
  readonly #commands: Lazy;
  readonly #fingerprints: Lazy;
  #isNews = false;

  constructor(row: AttackerRow) {
    this.row = { ...row };
    this.#services = new Set(textsIn(row.services));
    this.#deckies = new Set(textsIn(row.deckies));
    this.#commands = new Lazy(row.commands);
    this.#fingerprints = new Lazy(row.fingerprints);
  }

  /** True when more has changed than the columns of {@link SIGHTING}. */
  get isNews(): boolean {
    return this.#isNews;
  }

  /** A row of which nothing is known but the address. @param at ISO time */
  static of(uuid: string, ip: string, at: string): AttackerDraft {
    const draft = new AttackerDraft({
      uuid,
      ip,
      identity_id: null,
      first_seen: at,
      last_seen: at,
      event_count: 0,
      service_count: 0,
      decky_count: 0,
      services: '[]',
      deckies: '[]',
      traversal_path: null,
      is_traversal: 0,
      bounty_count: 0,
      credential_count: 0,
      fingerprints: '[]',
      commands: '[]',
      country_code: null,
      country_source: null,
      asn: null,
      as_name: null,
      bgp_prefix: null,
      asn_source: null,
      rpki_status: null,
      rpki_source: null,
      ptr_record: null,
      rotation_count: 0,
      last_rotation_at: null,
      ipv6_leak_count: 0,
      last_ipv6_leak_at: null,
      last_ipv6_link_local: null,
      last_ipv6_iid_kind: null,
      last_ipv6_mac_oui: null,
      updated_at: at,
    });
    draft.#isNews = true;
    return draft;
  }

  /** A producer calls him so. */
  isCalled(uuid: string): void {
    this.row.uuid = uuid;
    this.#isNews = true;
  }

  belongsTo(identity: string): void {
    this.row.identity_id = identity;
    this.#isNews = true;
  }

  /** It was seen. @param at ISO time */
  seen(at: string): void {
    if (at < this.row.first_seen) this.row.first_seen = at;
    if (at > this.row.last_seen) this.row.last_seen = at;
    if (at > this.row.updated_at) this.row.updated_at = at;
  }

  /** It touched a service of a decky. @param eventType of the line that tells of it */
  touched(decky: string | undefined, service: string | undefined, eventType: string): void {
    this.#countUp('event_count');
    const known = this.#services.size + this.#deckies.size;
    this.#met(service, contactOf(eventType));
    if (decky !== undefined && this.#deckies.size < MOST.deckies) this.#deckies.add(decky);
    if (this.#services.size + this.#deckies.size === known) return;
    this.#isNews = true;
    this.row.decky_count = Math.max(this.row.decky_count, this.#deckies.size);
    if (this.#deckies.size > 1) this.#traverses();
  }

  /** A profile knows better than what was counted here: DECNET's profiler has seen all of it. */
  scored(payload: JsonObject): void {
    const { row } = this;
    this.#isNews = true;
    row.event_count = countOf(payload, 'event_count') ?? row.event_count;
    row.service_count = countOf(payload, 'service_count') ?? row.service_count;
    row.decky_count = countOf(payload, 'decky_count') ?? row.decky_count;
    row.bounty_count = countOf(payload, 'bounty_count') ?? row.bounty_count;
    row.credential_count = countOf(payload, 'credential_count') ?? row.credential_count;
    if (payload.is_traversal === true) this.#traverses();
  }

  credential(service: string | undefined): void {
    this.#isNews = true;
    this.#met(service, CONTACT.used);
    this.#countUp('credential_count');
    this.#countUp('bounty_count');
  }

  command(command: TriedCommand): void {
    this.#isNews = true;
    this.#met(command.service, CONTACT.used);
    const commands = this.#commands.changed();
    commands.push({ ...command });
    if (commands.length > MOST.commands) commands.shift();
  }

  /** A probe's result takes the place of the same probe's on the same port. */
  fingerprint(kind: string, payload: JsonObject): void {
    const { attacker_ip: _, attacker_uuid: __, ...found } = payload;
    const port = numberOf(payload, 'port') ?? null;
    const isSame = (old: Json) =>
      isJsonObject(old) &&
      isJsonObject(old.payload) &&
      old.payload.fingerprint_type === kind &&
      (old.payload.port ?? null) === port;
    this.#isNews = true;
    const fingerprints = this.#fingerprints.changed();
    const index = fingerprints.findIndex(isSame);
    if (index >= 0) fingerprints.splice(index, 1);
    // What is too large to be kept is known to have been there.
    const kept: JsonObject = JSON.parse(jsonText(found, JSON.stringify({ port }), MOST_FINGERPRINT));
    fingerprints.push({ bounty_type: 'fingerprint', payload: { fingerprint_type: kind, ...kept } });
    if (fingerprints.length > MOST.fingerprints) fingerprints.shift();
  }

  rotated(payload: JsonObject, at: string): void {
    this.#isNews = true;
    this.row.rotation_count = countOf(payload, 'rotation_count') ?? Math.min(MAX_COUNT, this.row.rotation_count + 1);
    this.row.last_rotation_at = at;
  }

  leakedIpv6(payload: JsonObject, at: string): void {
    const { row } = this;
    this.#isNews = true;
    this.#countUp('ipv6_leak_count');
    row.last_ipv6_leak_at = at;
    row.last_ipv6_link_local = textOf(payload, 'addr', 64) ?? row.last_ipv6_link_local;
    row.last_ipv6_iid_kind = textOf(payload, 'iid_kind', 32) ?? row.last_ipv6_iid_kind;
    row.last_ipv6_mac_oui = textOf(payload, 'mac_oui', 32) ?? row.last_ipv6_mac_oui;
  }

  /** The row with all changes. */
  finished(): AttackerRow {
    return {
      ...this.row,
      services: JSON.stringify([...this.#services]),
      deckies: JSON.stringify([...this.#deckies]),
      commands: this.#commands.text,
      fingerprints: this.#fingerprints.text,
    };
  }

  /** The services that the batch tells of, each with the closest contact. */
  contacts(): { service: string; contact: Contact }[] {
    return [...this.#contacts].map(([service, contact]) => ({ service, contact }));
  }

  #countUp(name: 'event_count' | 'credential_count' | 'bounty_count' | 'ipv6_leak_count'): void {
    this.row[name] = Math.min(MAX_COUNT, this.row[name] + 1);
  }

  #met(service: string | undefined, contact: Contact): void {
    if (service === undefined || service === '' || service === '-') return;
    if (!this.#services.has(service) && this.#services.size >= MOST.services) return;
    this.#services.add(service);
    this.row.service_count = Math.max(this.row.service_count, this.#services.size);
    if (contact >= (this.#contacts.get(service) ?? contact)) this.#contacts.set(service, contact);
  }

  #traverses(): void {
    const yes: Bit = 1;
    this.row.is_traversal = yes;
    this.row.traversal_path = this.#deckies.size > 1 ? [...this.#deckies].join(' → ') : this.row.traversal_path;
  }
}

/** A list in a column, read when something is added to it. */
class Lazy {
  readonly #text: string;
  #list: Json[] | undefined;

  constructor(text: string) {
    this.#text = text;
  }

  /** For changes. */
  changed(): Json[] {
    this.#list ??= listIn(this.#text);
    return this.#list;
  }

  get text(): string {
    return this.#list === undefined ? this.#text : storable(JSON.stringify(this.#list), Number.MAX_SAFE_INTEGER);
  }
}

function listIn(text: string): Json[] {
  const value: unknown = JSON.parse(text);
  return Array.isArray(value) ? value : [];
}

function textsIn(text: string): string[] {
  return listIn(text).filter((item) => typeof item === 'string');
}
