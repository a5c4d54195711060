import type { Json, JsonObject } from '../bus/event.ts';
import { isJsonObject } from '../bus/event.ts';
import type { AttackerRow, Bit } from '../db/schema.ts';
import { countOf, numberOf, storable, textOf } from '../projection/payload.ts';

/** How many of each are kept in an attacker's row; the newest commands and fingerprints, the first of the others. */
const MOST = { services: 100, deckies: 200, fingerprints: 50, commands: 50 } as const;

/** A command as it stands in an attacker's row (contract P5). */
export interface TriedCommand {
  readonly service: string;
  readonly decky: string;
  readonly command: string;
  readonly timestamp: string;
}

/** An attacker's row while a batch of events changes it. */
export class AttackerDraft {
  readonly row: AttackerRow;
  readonly #services: Set<string>;
  readonly #deckies: Set<string>;
  readonly #commands: Json[];
  readonly #fingerprints: Json[];

  constructor(row: AttackerRow) {
    this.row = { ...row };
    this.#services = new Set(textsIn(row.services));
    this.#deckies = new Set(textsIn(row.deckies));
    this.#commands = listIn(row.commands);
    this.#fingerprints = listIn(row.fingerprints);
  }

  /** A row of which nothing is known but the address. @param at ISO time */
  static of(uuid: string, ip: string, at: string): AttackerDraft {
    return new AttackerDraft({
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
  }

  /** It was seen. @param at ISO time */
  seen(at: string): void {
    if (at < this.row.first_seen) this.row.first_seen = at;
    if (at > this.row.last_seen) this.row.last_seen = at;
    if (at > this.row.updated_at) this.row.updated_at = at;
  }

  /** It touched a service of a decky. */
  touched(decky: string | undefined, service: string | undefined): void {
    this.row.event_count += 1;
    if (service !== undefined && service !== '-' && this.#services.size < MOST.services) this.#services.add(service);
    if (decky !== undefined && this.#deckies.size < MOST.deckies) this.#deckies.add(decky);
    this.row.service_count = Math.max(this.row.service_count, this.#services.size);
    this.row.decky_count = Math.max(this.row.decky_count, this.#deckies.size);
    if (this.#deckies.size > 1) this.#traverses();
  }

  /** A profile knows better than what was counted here: DECNET's profiler has seen all of it. */
  scored(payload: JsonObject): void {
    const { row } = this;
    row.event_count = countOf(payload, 'event_count') ?? row.event_count;
    row.service_count = countOf(payload, 'service_count') ?? row.service_count;
    row.decky_count = countOf(payload, 'decky_count') ?? row.decky_count;
    row.bounty_count = countOf(payload, 'bounty_count') ?? row.bounty_count;
    row.credential_count = countOf(payload, 'credential_count') ?? row.credential_count;
    if (payload.is_traversal === true) this.#traverses();
  }

  credential(): void {
    this.row.credential_count += 1;
    this.row.bounty_count += 1;
  }

  command(command: TriedCommand): void {
    this.#commands.push({ ...command });
    if (this.#commands.length > MOST.commands) this.#commands.shift();
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
    const index = this.#fingerprints.findIndex(isSame);
    if (index >= 0) this.#fingerprints.splice(index, 1);
    this.#fingerprints.push({ bounty_type: 'fingerprint', payload: { fingerprint_type: kind, ...found } });
    if (this.#fingerprints.length > MOST.fingerprints) this.#fingerprints.shift();
  }

  rotated(payload: JsonObject, at: string): void {
    this.row.rotation_count = countOf(payload, 'rotation_count') ?? this.row.rotation_count + 1;
    this.row.last_rotation_at = at;
  }

  leakedIpv6(payload: JsonObject, at: string): void {
    const { row } = this;
    row.ipv6_leak_count += 1;
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
      commands: storable(JSON.stringify(this.#commands), Number.MAX_SAFE_INTEGER),
      fingerprints: storable(JSON.stringify(this.#fingerprints), Number.MAX_SAFE_INTEGER),
    };
  }

  #traverses(): void {
    const yes: Bit = 1;
    this.row.is_traversal = yes;
    this.row.traversal_path = this.#deckies.size > 1 ? [...this.#deckies].join(' → ') : this.row.traversal_path;
  }
}

function listIn(text: string): Json[] {
  const value: unknown = JSON.parse(text);
  return Array.isArray(value) ? value : [];
}

function textsIn(text: string): string[] {
  return listIn(text).filter((item) => typeof item === 'string');
}
