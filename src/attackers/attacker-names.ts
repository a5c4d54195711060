import { sql } from 'kysely';
import type { Engine, Trx } from '../db/database.ts';
import { insertRows } from '../db/insert-rows.ts';
import { isOneOf } from '../db/one-of.ts';

/** Names every attacker whose producer tells only its address: the same in every rebuild (RFC 9562, UUID version 5). */
const NAMESPACE = '0b0f6f0c-6c0e-4c56-a7a5-5a2f9d2f9f11';

/** The uuid of an attacker of whom only the address is known. */
export function uuidOfAddress(ip: string): string {
  return Bun.randomUUIDv5(ip, NAMESPACE);
}

/** Names of one attacker; he keeps the ones that he has. */
const MOST_NAMES = 20;

const NAMES = { table: 'attacker_uuids', columns: { uuid: 'text', ip: 'text' } } as const;
const MOVED = sql`on conflict (uuid) do update set ip = excluded.ip`;

/** What producers have told of a uuid. */
interface Known {
  readonly ip: string | null;
  readonly identityUuid: string | null;
}

/**
 * What attackers are called, in one transaction: what a batch of events asks is read at once, and names are written at once by
 * {@link flush}. Whoever changes the rows himself flushes before, and calls {@link forget} afterwards.
 */
export class Names {
  readonly #trx: Trx;
  readonly #engine: Engine;
  readonly #known = new Map<string, Known | undefined>();
  /** Uuid → address of the attacker whose row has it. */
  readonly #owners = new Map<string, string | undefined>();
  readonly #unwritten = new Map<string, string>();

  constructor(trx: Trx, engine: Engine) {
    this.#trx = trx;
    this.#engine = engine;
  }

  /** Reads what will be asked. */
  async load(uuids: readonly string[]): Promise<void> {
    const asked = [...new Set(uuids)].filter((uuid) => !this.#known.has(uuid));
    if (asked.length === 0) return;
    const [known, owners] = [
      await this.#trx
        .selectFrom('attacker_uuids')
        .selectAll()
        .where(isOneOf(this.#engine, 'uuid', asked))
        .execute(),
      await this.#trx
        .selectFrom('attackers')
        .select(['uuid', 'ip'])
        .where(isOneOf(this.#engine, 'uuid', asked))
        .execute(),
    ];
    for (const uuid of asked) {
      this.#known.set(uuid, undefined);
      this.#owners.set(uuid, undefined);
    }
    for (const { uuid, ip, identity_uuid } of known) this.#known.set(uuid, { ip, identityUuid: identity_uuid });
    for (const { uuid, ip } of owners) this.#owners.set(uuid, ip);
  }

  /** Which address, and which identity, producers have told of a uuid. */
  async knownOf(uuid: string): Promise<Known | undefined> {
    await this.load([uuid]);
    return this.#known.get(uuid);
  }

  /** The address of the attacker whose row has the uuid. */
  async ownerOf(uuid: string): Promise<string | undefined> {
    await this.load([uuid]);
    return this.#owners.get(uuid);
  }

  /** Notes that a producer calls the attacker at an address by this uuid. */
  name(uuid: string, ip: string): void {
    this.#unwritten.set(uuid, ip);
    this.#known.set(uuid, { ip, identityUuid: this.#known.get(uuid)?.identityUuid ?? null });
  }

  /** Whether an attacker is to get no further name. */
  async hasEnough(uuid: string, ip: string): Promise<boolean> {
    await this.flush();
    const names = await this.#trx
      .selectFrom('attacker_uuids')
      .select('uuid')
      .where('ip', '=', ip)
      .limit(MOST_NAMES)
      .execute();
    return names.length >= MOST_NAMES && !names.some((name) => name.uuid === uuid);
  }

  /** Notes that attackers belong to an identity; their addresses may not be known yet. */
  async bind(uuids: readonly string[], identity_uuid: string): Promise<void> {
    if (uuids.length === 0) return;
    await this.flush();
    await this.#trx
      .insertInto('attacker_uuids')
      .values([...new Set(uuids)].map((uuid) => ({ uuid, ip: null, identity_uuid })))
      .onConflict((conflict) => conflict.column('uuid').doUpdateSet({ identity_uuid }))
      .execute();
    this.forget();
  }

  async flush(): Promise<void> {
    const rows = [...this.#unwritten].map(([uuid, ip]) => ({ uuid, ip }));
    this.#unwritten.clear();
    await insertRows(this.#trx, this.#engine, NAMES, rows, MOVED);
  }

  /** What is asked next is read anew. */
  forget(): void {
    this.#known.clear();
    this.#owners.clear();
  }
}
