import { isJsonObject, type Json, type JsonObject } from '../bus/event.ts';
import type { Db, Trx } from '../db/database.ts';
import { isStorable } from '../db/storable.ts';
import { AppError } from '../errors.ts';
import { lockTopology } from './lock.ts';

const TONES = ['formal', 'direct', 'casual', 'technical', 'custom'] as const;
const LATENCIES = ['fast', 'normal', 'slow'] as const;
const MAX_MANNERISMS = 12;
const TRUE_WORDS = ['true', 't', 'yes', 'y', 'on', '1'];
const FALSE_WORDS = ['false', 'f', 'no', 'n', 'off', '0'];

/** Somebody who seems to write mail in a topology (contract P3). */
export interface Persona {
  readonly name: string;
  readonly email: string;
  readonly role: string;
  readonly tone: (typeof TONES)[number];
  readonly tone_custom: string | null;
  readonly mannerisms: readonly string[];
  readonly language: string;
  readonly signature: string | null;
  readonly active_hours: string;
  readonly reply_latency: (typeof LATENCIES)[number];
  readonly uses_llms_heavily: boolean;
}

/**
 * Reads an entry of a list of personas; keys that nobody knows are left out.
 * @param language for one that names none
 * @returns `undefined` for an entry that is no persona
 */
export function personaOf(entry: Json, language: string): Persona | undefined {
  if (!isJsonObject(entry)) return undefined;
  const read = new PersonaFields(entry);
  const persona: Persona = {
    name: read.text('name', 1, 128),
    email: read.text('email', 3, 255),
    role: read.text('role', 1, 128),
    tone: read.oneOf('tone', TONES, 'formal'),
    tone_custom: read.textOr('tone_custom', 128, null),
    mannerisms: read.texts('mannerisms', MAX_MANNERISMS),
    language: read.textOr('language', 8, null) ?? language,
    signature: read.textOr('signature', 512, null),
    active_hours: read.textOr('active_hours', 32, '09:00-18:00', 'required') ?? '',
    reply_latency: read.oneOf('reply_latency', LATENCIES, 'normal'),
    uses_llms_heavily: read.flag('uses_llms_heavily'),
  };
  // Text before the last @ and a dot after it.
  if (!/^.+@[^@]*\.[^@]*$/s.test(persona.email)) return undefined;
  if (persona.tone === 'custom' && (persona.tone_custom ?? '').trim() === '') return undefined;
  return read.isValid ? persona : undefined;
}

/** `GET /topologies/{id}/personas`. @throws {AppError} `not_found` */
export async function readPersonas(db: Db, topologyId: string) {
  const row = isStorable(topologyId)
    ? await db.selectFrom('topologies').selectAll().where('id', '=', topologyId).executeTakeFirst()
    : undefined;
  if (row === undefined) throw new AppError('not_found', 'Topology not found');
  return personasOnWire(row, JSON.parse(row.email_personas));
}

/**
 * Replaces the personas of a topology, whatever its status. What is no persona among others is left out.
 * @throws {AppError} `not_found`; `bad_request` when none of several is one
 */
export function writePersonas(db: Db, topologyId: string, entries: readonly Json[]) {
  return db.transaction().execute(async (trx: Trx) => {
    const row = await lockTopology(trx, topologyId);
    const personas = entries.flatMap((entry) => personaOf(entry, row.language_default) ?? []);
    if (entries.length > 0 && personas.length === 0) {
      throw new AppError('bad_request', 'None of these is a persona: each needs a name, an email and a role');
    }
    const email_personas = JSON.stringify(personas);
    await trx.updateTable('topologies').set({ email_personas }).where('id', '=', topologyId).execute();
    return personasOnWire(row, JSON.parse(email_personas));
  });
}

function personasOnWire({ id, name, language_default }: Awaited<ReturnType<typeof lockTopology>>, personas: Json) {
  return {
    topology_id: id,
    topology_name: name,
    language_default,
    personas: Array.isArray(personas) ? personas : [],
  };
}

/** Reads fields, and remembers whether all of them could be. */
class PersonaFields {
  readonly #fields: JsonObject;
  isValid = true;

  constructor(fields: JsonObject) {
    this.#fields = fields;
  }

  text(name: string, min: number, max: number): string {
    const value = this.#fields[name];
    const isText = typeof value === 'string' && value.length >= min && value.length <= max;
    return isText ? value : this.#refuse('');
  }

  /** @param nullable whether null is as good as nothing */
  textOr<T extends string | null>(name: string, max: number, fallback: T, nullable: 'null' | 'required' = 'null') {
    const value = this.#fields[name];
    if (value === undefined || (value === null && nullable === 'null')) return fallback;
    return this.text(name, 0, max);
  }

  texts(name: string, max: number): readonly string[] {
    const value = this.#fields[name] ?? [];
    if (!Array.isArray(value) || value.length > max || this.#fields[name] === null) return this.#refuse([]);
    const texts = value.filter((item: Json) => typeof item === 'string');
    return texts.length === value.length ? texts : this.#refuse([]);
  }

  oneOf<T extends string>(name: string, values: readonly T[], fallback: T): T {
    const value = this.#fields[name];
    if (value === undefined) return fallback;
    return values.find((known) => known === value) ?? this.#refuse(fallback);
  }

  flag(name: string): boolean {
    const value = this.#fields[name] ?? (name in this.#fields ? null : false);
    const word = typeof value === 'object' ? '' : String(value).toLowerCase();
    if (TRUE_WORDS.includes(word)) return true;
    return FALSE_WORDS.includes(word) ? false : this.#refuse(false);
  }

  #refuse<T>(standIn: T): T {
    this.isValid = false;
    return standIn;
  }
}
