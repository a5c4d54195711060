import type { CompiledQuery } from 'kysely';
import { appendToOutbox } from '../bus/outbox.ts';
import { assertPattern } from '../bus/topic.ts';
import type { Db, Trx } from '../db/database.ts';
import type { ServiceAccountRow } from '../db/schema.ts';
import { AppError, describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { isSameHash, mintAccountToken, parseAccountToken } from './account-secret.ts';
import { type AccountPrincipal, type Grants, NEVER } from './principal.ts';
import { mayUseAny } from './rights.ts';
import { type RevocationReason, sessionRevoked } from './session-revoked.ts';
import type { Session } from './tokens.ts';

/** A service account as administrators see it. Times are seconds since the epoch. */
export interface AccountView extends Grants {
  readonly uuid: string;
  readonly name: string;
  readonly expires_at: number | null;
  readonly created_at: number;
}

/** In a list, also how it fares. */
export interface ListedAccount extends AccountView {
  /** To the minute. */
  readonly last_used_at: number | null;
  readonly revoked_at: number | null;
}

/** The only time that the secret is seen. */
export type AccountWithSecret = AccountView & { readonly secret: string };

export interface NewAccount extends Grants {
  readonly name: string;
  /** Seconds since the epoch. */
  readonly expires_at: number | null;
}

/** Patterns in one list. Each event of a stream, and each that is published, is compared with them. */
const MAX_PATTERNS = 50;
/** How long the list tells of one that is revoked. */
const KEPT_MS = 30 * 24 * 3600 * 1000;
/** Its use is written down no more often. */
const USE_MS = 60_000;
const SESSION_FORM = /^dls-(\d+)-(\d+)$/;

/**
 * Accounts of programs. The database is asked each time, by one indexed query, and nothing is remembered. Each change that
 * takes something away commits the event that makes every node ask again about open streams with it (invariant 1).
 */
export class ServiceAccounts {
  readonly #db: Db;
  readonly #onCommitted: (uuid: string) => void;
  readonly #logger: Log;
  readonly #byUuid: CompiledQuery;
  /** Whose use is being written down. */
  readonly #noting = new Set<string>();

  /** @param onCommitted called after each commit that took something away, with the account: it wakes the relay */
  constructor(db: Db, onCommitted: (uuid: string) => void, logger: Log) {
    this.#db = db;
    this.#onCommitted = onCommitted;
    this.#logger = logger;
    // Every request asks this, so it is compiled once.
    this.#byUuid = db.selectFrom('service_accounts').selectAll().where('uuid', '=', '').compile();
  }

  /**
   * Who a token stands for. A wrong secret of a right account takes the same way as an account that never was.
   * @returns `undefined` for a token that does not hold, without saying why
   */
  async authenticate(token: string): Promise<AccountPrincipal | undefined> {
    const parsed = parseAccountToken(token);
    if (parsed === undefined) return undefined;
    const row = await this.#find(parsed.uuid);
    const isCurrent = isSameHash(parsed.hash, row?.secret_hash);
    const isPrevious = isSameHash(parsed.hash, row?.previous_hash);
    if (row === undefined || !(isCurrent || isPrevious)) return undefined;
    const principal = principalOf(row, isCurrent ? row.secret_number : row.secret_number - 1);
    if (principal !== undefined) this.#noteUse(row);
    return principal;
  }

  /**
   * Who a session of before stands for now: of a stream, a socket or a ticket.
   * @returns `undefined` when its secret does not hold any more, or the rights are not those with which it began
   */
  async resume(session: Session): Promise<AccountPrincipal | undefined> {
    const [, number, version] = SESSION_FORM.exec(session.jti) ?? [];
    const row = await this.#find(session.userUuid);
    if (row === undefined || row.rights_version !== Number(version)) return undefined;
    const principal = principalOf(row, Number(number));
    const expiresAt = Math.min(session.expiresAt, principal?.expiresAt ?? 0);
    return principal === undefined || expiresAt <= Date.now() ? undefined : { ...principal, expiresAt };
  }

  /** All by name; those that were revoked within the last {@link KEPT_MS}, too. */
  async list(): Promise<ListedAccount[]> {
    const rows = await this.#db
      .selectFrom('service_accounts')
      .selectAll()
      .orderBy('name')
      .orderBy('created_at')
      .execute();
    return rows.map(listed);
  }

  /** @throws {AppError} `not_found` */
  async get(uuid: string): Promise<ListedAccount> {
    const row = await this.#find(uuid);
    if (row === undefined) throw accountNotFound();
    return listed(row);
  }

  /**
   * @throws {AppError} `conflict` when the name is taken; `invalid` for patterns that cannot be used and for an end that is past
   * @throws {TopicError} for what is no pattern
   */
  async create(account: NewAccount): Promise<AccountWithSecret> {
    const { name, expires_at: expiresAt } = account;
    const grants = usable(account);
    if (expiresAt !== null && expiresAt * 1000 <= Date.now()) {
      throw new AppError(
        'invalid',
        'expires_at is past; give seconds since the epoch, or null for an account that stays',
      );
    }
    const { uuid, token, hash } = mintAccountToken(crypto.randomUUID());
    const now = Date.now();
    await this.#db
      .deleteFrom('service_accounts')
      .where('revoked_at', '<', iso(now - KEPT_MS))
      .execute();
    const row = await this.#db
      .insertInto('service_accounts')
      .values({
        uuid,
        name,
        ...columnsOf(grants),
        secret_hash: hash,
        expires_at: expiresAt === null ? null : iso(expiresAt * 1000),
        created_at: iso(now),
      })
      .onConflict((conflict) => conflict.column('name').where('revoked_at', 'is', null).doNothing())
      .returningAll()
      .executeTakeFirst();
    if (row === undefined) throw new AppError('conflict', `There is a service account named '${name}' already`);
    return { ...view(row), secret: token };
  }

  /**
   * A new secret. The one before holds for the grace, and no other; what it has opened ends with it.
   * @throws {AppError} `not_found`; `conflict` for one that is revoked or has expired
   */
  async rotate(uuid: string, graceSeconds: number): Promise<AccountWithSecret> {
    const { token, hash } = mintAccountToken(uuid);
    const until = graceSeconds === 0 ? null : iso(Date.now() + graceSeconds * 1000);
    const row = await this.#change(uuid, 'account_rotated', (trx) =>
      trx
        .updateTable('service_accounts')
        .set((column) => ({
          secret_number: column('secret_number', '+', 1),
          previous_hash: until === null ? null : column.ref('secret_hash'),
          previous_until: until,
          secret_hash: hash,
        }))
        .where('uuid', '=', uuid)
        .where('revoked_at', 'is', null)
        .where((column) => column.or([column('expires_at', 'is', null), column('expires_at', '>', iso(Date.now()))]))
        .returningAll()
        .executeTakeFirst(),
    );
    return { ...view(row), secret: token };
  }

  /**
   * Other rights: open streams and sockets end, and come back with the new ones.
   * @throws {AppError} as {@link rotate}; `invalid` for patterns that cannot be used
   */
  async setRights(uuid: string, rights: Partial<Grants>): Promise<ListedAccount> {
    const row = await this.#change(uuid, 'account_changed', async (trx) => {
      // The version alone, first: it locks the row, so that of two changes at once neither undoes the other.
      const before = await trx
        .updateTable('service_accounts')
        .set((column) => ({ rights_version: column('rights_version', '+', 1) }))
        .where('uuid', '=', uuid)
        .where('revoked_at', 'is', null)
        .returningAll()
        .executeTakeFirst();
      if (before === undefined) return undefined;
      const had = grantsOf(before);
      const control = rights.control ?? had.control;
      const given = usable({ publish: rights.publish ?? [], subscribe: rights.subscribe ?? [], control });
      const grants = {
        publish: rights.publish === undefined ? had.publish : given.publish,
        subscribe: rights.subscribe === undefined ? had.subscribe : given.subscribe,
        control,
      };
      return trx
        .updateTable('service_accounts')
        .set(columnsOf(grants))
        .where('uuid', '=', uuid)
        .returningAll()
        .executeTakeFirst();
    });
    return listed(row);
  }

  /**
   * Ends it for good; safe to repeat.
   * @throws {AppError} `not_found`
   */
  async revoke(uuid: string): Promise<void> {
    const { revoked_at } = await this.get(uuid);
    if (revoked_at !== null) return;
    await this.#change(uuid, 'account_revoked', (trx) =>
      trx
        .updateTable('service_accounts')
        .set({ revoked_at: iso(Date.now()), previous_hash: null, previous_until: null })
        .where('uuid', '=', uuid)
        .returningAll()
        .executeTakeFirst(),
    );
  }

  async #find(uuid: string): Promise<ServiceAccountRow | undefined> {
    const query: CompiledQuery<ServiceAccountRow> = { ...this.#byUuid, parameters: [uuid] };
    const { rows } = await this.#db.executeQuery(query);
    return rows[0];
  }

  async #change(
    uuid: string,
    reason: RevocationReason,
    change: (trx: Trx) => Promise<ServiceAccountRow | undefined>,
  ): Promise<ServiceAccountRow> {
    const changed = await this.#db.transaction().execute(async (trx) => {
      const row = await change(trx);
      if (row !== undefined) await appendToOutbox(trx, [sessionRevoked(uuid, null, reason)]);
      return row;
    });
    if (changed === undefined) {
      await this.get(uuid);
      throw new AppError('conflict', 'The service account is revoked or has expired; create another one');
    }
    this.#onCommitted(uuid);
    return changed;
  }

  /** Nobody waits for it, and nobody fails by it. */
  #noteUse({ uuid, last_used_at: last }: ServiceAccountRow): void {
    const now = Date.now();
    if ((last !== null && now - Date.parse(last) < USE_MS) || this.#noting.has(uuid)) return;
    this.#noting.add(uuid);
    this.#db
      .updateTable('service_accounts')
      .set({ last_used_at: iso(now) })
      .where('uuid', '=', uuid)
      .execute()
      .catch((error: unknown) =>
        this.#logger.debug('the use of a service account was not noted', { uuid, error: describeError(error) }),
      )
      .finally(() => this.#noting.delete(uuid));
  }
}

/** Whether a session is one of a service account. */
export function isAccountSession({ jti }: Pick<Session, 'jti'>): boolean {
  return SESSION_FORM.test(jti);
}

/** @param number of the secret that was shown */
function principalOf(row: ServiceAccountRow, number: number): AccountPrincipal | undefined {
  const now = Date.now();
  const ends = [row.expires_at === null ? NEVER : Date.parse(row.expires_at)];
  if (number !== row.secret_number) {
    if (number !== row.secret_number - 1 || row.previous_until === null) return undefined;
    ends.push(Date.parse(row.previous_until));
  }
  const expiresAt = Math.min(...ends);
  if (row.revoked_at !== null || expiresAt <= now) return undefined;
  return {
    userUuid: row.uuid,
    username: row.name,
    role: 'account',
    grants: grantsOf(row),
    jti: `dls-${number}-${row.rights_version}`,
    issuedAt: seconds(row.created_at),
    expiresAt,
  };
}

/**
 * @throws {AppError} `invalid` for patterns with which nobody could do anything: whoever gives them expects something
 * @throws {TopicError}
 */
function usable({ publish, subscribe, control }: Grants): Grants {
  const grants = { publish: [...new Set(publish)], subscribe: [...new Set(subscribe)], control };
  for (const action of ['publish', 'subscribe'] as const) {
    if (grants[action].length > MAX_PATTERNS) {
      throw new AppError('invalid', `${action} may list at most ${MAX_PATTERNS} patterns`);
    }
    for (const pattern of grants[action]) {
      assertPattern(pattern);
      if (mayUseAny({ role: 'account', grants }, action, pattern)) continue;
      throw new AppError('invalid', unusable(action, pattern));
    }
  }
  return grants;
}

function unusable(action: 'publish' | 'subscribe', pattern: string): string {
  const why = mayUseAny({ role: 'account', grants: CONTROLS }, action, pattern)
    ? "set control to true, or leave it out: 'system.*.control' needs that right"
    : 'no family of topics that service accounts may use matches it';
  return `${action}: '${pattern}' would allow nothing; ${why}`;
}

const CONTROLS: Grants = { publish: [], subscribe: [], control: true };

function grantsOf(row: ServiceAccountRow): Grants {
  return { publish: JSON.parse(row.publish), subscribe: JSON.parse(row.subscribe), control: row.control === 1 };
}

function columnsOf({ publish, subscribe, control }: Grants) {
  const bit: 0 | 1 = control ? 1 : 0;
  return { publish: JSON.stringify(publish), subscribe: JSON.stringify(subscribe), control: bit };
}

function view(row: ServiceAccountRow): AccountView {
  const { uuid, name } = row;
  const times = { expires_at: secondsOrNull(row.expires_at), created_at: seconds(row.created_at) };
  return { uuid, name, ...grantsOf(row), ...times };
}

function listed(row: ServiceAccountRow): ListedAccount {
  return { ...view(row), last_used_at: secondsOrNull(row.last_used_at), revoked_at: secondsOrNull(row.revoked_at) };
}

function accountNotFound(): AppError {
  return new AppError('not_found', 'Service account not found');
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

function seconds(time: string): number {
  return Math.floor(Date.parse(time) / 1000);
}

function secondsOrNull(time: string | null): number | null {
  return time === null ? null : seconds(time);
}
