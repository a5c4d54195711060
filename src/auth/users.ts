import { appendToOutbox } from '../bus/outbox.ts';
import type { Db, Trx } from '../db/database.ts';
import type { UserRow } from '../db/schema.ts';
import { AppError } from '../errors.ts';
import { assertPasswordBytes, hashPassword, verifyPassword } from './passwords.ts';
import type { Role } from './principal.ts';
import { type RevocationReason, sessionRevoked } from './session-revoked.ts';
import type { Session } from './tokens.ts';

/** A user as other users may see it (contract §4.3). */
export interface UserView {
  readonly uuid: string;
  readonly username: string;
  readonly role: Role;
  readonly must_change_password: boolean;
}

/** A session's user, and whether the session itself was ended early. */
export type SessionUser = Omit<UserRow, 'password_hash'> & { readonly revoked: boolean };

/**
 * Users and ended sessions. Each change that ends sessions commits the event that tells the other nodes with it
 * (invariant 1).
 */
export class Users {
  readonly #db: Db;
  readonly #onCommitted: () => void;

  /** @param onCommitted called after each commit that left an event in the outbox: it wakes the relay */
  constructor(db: Db, onCommitted: () => void) {
    this.#db = db;
    this.#onCommitted = onCommitted;
  }

  /** @returns the user when the password is theirs; takes the same time for a name that nobody has */
  async findByCredentials(username: string, password: string): Promise<UserView | undefined> {
    const row = await this.#db.selectFrom('users').selectAll().where('username', '=', username).executeTakeFirst();
    const matches = await verifyPassword(password, row?.password_hash);
    return row !== undefined && matches ? view(row) : undefined;
  }

  /** What decides about a session, in one query. */
  async findSessionUser(session: Pick<Session, 'userUuid' | 'jti'>): Promise<SessionUser | undefined> {
    const row = await this.#db
      .selectFrom('users')
      .leftJoin('revoked_tokens', (join) => join.on('revoked_tokens.jti', '=', session.jti))
      .select(['uuid', 'username', 'role', 'must_change_password', 'tokens_valid_from', 'revoked_tokens.jti'])
      .where('uuid', '=', session.userUuid)
      .executeTakeFirst();
    if (row === undefined) return undefined;
    const { jti, ...user } = row;
    return { ...user, revoked: jti !== null };
  }

  /** All users by name. */
  async list(): Promise<UserView[]> {
    const rows = await this.#db
      .selectFrom('users')
      .select(['uuid', 'username', 'role', 'must_change_password'])
      .orderBy('username')
      .execute();
    return rows.map(view);
  }

  /**
   * The new user has to change the password before anything else.
   * @throws {AppError} `conflict` when the name is taken
   */
  async create(username: string, password: string, role: Role): Promise<UserView> {
    const created = await this.#insert(username, password, role);
    if (created === undefined) throw new AppError('conflict', 'Username already exists');
    return created;
  }

  /**
   * Makes sure that somebody can log in. Until the admin has chosen a password, the configured one counts: correcting
   * it and starting again must work.
   * @throws {AppError} `invalid` for a password so long that nobody could log in with it
   */
  async seedAdmin(username: string, password: string): Promise<void> {
    assertPasswordBytes(password);
    if ((await this.#insert(username, password, 'admin')) !== undefined) return;
    const row = await this.#db.selectFrom('users').selectAll().where('username', '=', username).executeTakeFirst();
    if (row?.must_change_password !== 1 || (await verifyPassword(password, row.password_hash))) return;
    await this.#db
      .updateTable('users')
      .set({ password_hash: await hashPassword(password) })
      .where('uuid', '=', row.uuid)
      .where('must_change_password', '=', 1)
      .execute();
  }

  /** @throws {AppError} `not_found` */
  async delete(uuid: string): Promise<void> {
    await this.#endSessions(uuid, null, 'user_deleted', async (trx) => {
      const row = await trx.deleteFrom('users').where('uuid', '=', uuid).returning('uuid').executeTakeFirst();
      if (row === undefined) throw userNotFound();
    });
  }

  /** @throws {AppError} `not_found` */
  async setRole(uuid: string, role: Role): Promise<void> {
    await this.#endSessions(uuid, null, 'role_changed', (trx) => updateUser(trx, uuid, { role }));
  }

  /**
   * The user has to change the password again before anything else.
   * @throws {AppError} `not_found`
   */
  async resetPassword(uuid: string, password: string): Promise<void> {
    const password_hash = await hashPassword(password);
    await this.#endSessions(uuid, null, 'password_reset', (trx) =>
      updateUser(trx, uuid, { password_hash, must_change_password: 1 }),
    );
  }

  /**
   * Ends all of the user's sessions, the given one included.
   * @throws {AppError} `unauthenticated` when the old password is not the current one
   */
  async changePassword(session: Session, oldPassword: string, newPassword: string): Promise<void> {
    const uuid = session.userUuid;
    const row = await this.#db.selectFrom('users').select('password_hash').where('uuid', '=', uuid).executeTakeFirst();
    const wrong = new AppError('unauthenticated', 'Incorrect old password');
    if (row === undefined || !(await verifyPassword(oldPassword, row.password_hash))) throw wrong;
    const password_hash = await hashPassword(newPassword);
    await this.#endSessions(uuid, null, 'password_changed', async (trx) => {
      const changed = await trx
        .updateTable('users')
        .set({ password_hash, must_change_password: 0, tokens_valid_from: now() })
        .where('uuid', '=', uuid)
        // Of two changes at once, which both knew the old password, one wins and the other is told.
        .where('password_hash', '=', row.password_hash)
        .returning('uuid')
        .executeTakeFirst();
      if (changed === undefined) throw wrong;
      // `tokens_valid_from` spares tokens of the same second; the caller's own must not live on.
      await denylist(trx, session);
    });
  }

  /** Ends one session. */
  async endSession(session: Session): Promise<void> {
    await this.#endSessions(session.userUuid, session.jti, 'logout', (trx) => denylist(trx, session));
  }

  async #insert(username: string, password: string, role: Role): Promise<UserView | undefined> {
    const row = await this.#db
      .insertInto('users')
      .values({
        uuid: crypto.randomUUID(),
        username,
        password_hash: await hashPassword(password),
        role,
        must_change_password: 1,
        tokens_valid_from: null,
      })
      .onConflict((conflict) => conflict.column('username').doNothing())
      .returningAll()
      .executeTakeFirst();
    return row === undefined ? undefined : view(row);
  }

  async #endSessions(
    uuid: string,
    jti: string | null,
    reason: RevocationReason,
    change: (trx: Trx) => Promise<void>,
  ): Promise<void> {
    await this.#db.transaction().execute(async (trx) => {
      await change(trx);
      await appendToOutbox(trx, [sessionRevoked(uuid, jti, reason)]);
    });
    this.#onCommitted();
  }
}

type UserChange = Partial<Pick<UserRow, 'role' | 'password_hash' | 'must_change_password'>>;

/** Also refuses every token of the user that was issued before this second. */
async function updateUser(trx: Trx, uuid: string, change: UserChange): Promise<void> {
  const row = await trx
    .updateTable('users')
    .set({ ...change, tokens_valid_from: now() })
    .where('uuid', '=', uuid)
    .returning('uuid')
    .executeTakeFirst();
  if (row === undefined) throw userNotFound();
}

/** Refuses a session's tokens until they would have expired anyway, and forgets those that have. */
async function denylist(trx: Trx, session: Session): Promise<void> {
  const revoked_at = now();
  await trx.deleteFrom('revoked_tokens').where('expires_at', '<', revoked_at).execute();
  await trx
    .insertInto('revoked_tokens')
    .values({
      jti: session.jti,
      user_uuid: session.userUuid,
      expires_at: new Date(session.expiresAt).toISOString(),
      revoked_at,
    })
    .onConflict((conflict) => conflict.column('jti').doNothing())
    .execute();
}

function view(row: Pick<UserRow, 'uuid' | 'username' | 'role' | 'must_change_password'>): UserView {
  const { uuid, username, role, must_change_password } = row;
  return { uuid, username, role, must_change_password: must_change_password === 1 };
}

function userNotFound(): AppError {
  return new AppError('not_found', 'User not found');
}

function now(): string {
  return new Date().toISOString();
}
