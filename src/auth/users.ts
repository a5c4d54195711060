import type { CompiledQuery, InferResult } from 'kysely';
import { appendToOutbox } from '../bus/outbox.ts';
import type { Db, Trx } from '../db/database.ts';
import type { UserRow } from '../db/schema.ts';
import { AppError } from '../errors.ts';
import { assertPasswordBytes, hashPassword, verifyPassword } from './passwords.ts';
import type { Role } from './principal.ts';
import { type RevocationReason, sessionRevoked } from './session-revoked.ts';
import { generationOf, isOutdated, type Session, unauthenticated } from './tokens.ts';

/** A user as other users may see it (contract §4.3). */
export interface UserView {
  readonly uuid: string;
  readonly username: string;
  readonly role: Role;
  readonly must_change_password: boolean;
}

/** A session's user, and whether the session itself was ended early. */
export type SessionUser = Omit<UserRow, 'password_hash'> & { readonly revoked: boolean };

/** A user whose password was right, and for which {@link generationOf} their credentials. */
export type SignedInUser = UserView & { readonly generation: number };

/**
 * Users and ended sessions. Each change that ends sessions commits the event that tells the other nodes with it
 * (invariant 1).
 */
export class Users {
  readonly #db: Db;
  readonly #onCommitted: (userUuid: string) => void;
  readonly #verify: typeof verifyPassword;
  readonly #sessionUser: CompiledQuery;

  /**
   * @param onCommitted called after each commit that left an event in the outbox, with the user whose sessions ended: it wakes the relay
   * @param verify what compares passwords; a test holds it, to have something happen meanwhile
   */
  constructor(db: Db, onCommitted: (userUuid: string) => void, verify = verifyPassword) {
    this.#db = db;
    this.#onCommitted = onCommitted;
    this.#verify = verify;
    this.#sessionUser = sessionUserQuery(db).compile();
  }

  /**
   * The slow comparison leaves time for the password or the role to change: the answer says of which generation the user
   * was before it, and a session that begins with it ends with that.
   * @returns the user when the password is theirs; takes the same time for a name that nobody has
   */
  async findByCredentials(username: string, password: string): Promise<SignedInUser | undefined> {
    const row = await this.#db.selectFrom('users').selectAll().where('username', '=', username).executeTakeFirst();
    const matches = await this.#verify(password, row?.password_hash);
    if (row === undefined || !matches) return undefined;
    return { ...view(row), generation: generationOf(row.tokens_valid_from) };
  }

  /** What decides about a session, in one query. */
  async findSessionUser({ jti: id, userUuid }: Pick<Session, 'userUuid' | 'jti'>): Promise<SessionUser | undefined> {
    const query: CompiledQuery<SessionUserRow> = { ...this.#sessionUser, parameters: [id, userUuid] };
    const { rows } = await this.#db.executeQuery(query);
    const [row] = rows;
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
    if (row?.must_change_password !== 1 || (await this.#verify(password, row.password_hash))) return;
    await this.#db
      .updateTable('users')
      // A sign-in with the former one that is under way must not outlive it.
      .set({ password_hash: await hashPassword(password), tokens_valid_from: now() })
      .where('uuid', '=', row.uuid)
      .where('must_change_password', '=', 1)
      .execute();
  }

  /** @throws {AppError} `not_found`; `forbidden` for the last admin */
  async delete(uuid: string): Promise<void> {
    await this.#endSessions(uuid, null, 'user_deleted', async (trx) => {
      await assertOtherAdmin(trx, uuid);
      const row = await trx.deleteFrom('users').where('uuid', '=', uuid).returning('uuid').executeTakeFirst();
      if (row === undefined) throw userNotFound();
    });
  }

  /** @throws {AppError} `not_found`; `forbidden` when the last admin would be none */
  async setRole(uuid: string, role: Role): Promise<void> {
    await this.#endSessions(uuid, null, 'role_changed', async (trx) => {
      if (role !== 'admin') await assertOtherAdmin(trx, uuid);
      await updateUser(trx, uuid, { role });
    });
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
   * @throws {AppError} `unauthenticated` when the old password is not the current one, or the session has ended meanwhile
   */
  async changePassword(session: Session, oldPassword: string, newPassword: string): Promise<void> {
    const uuid = session.userUuid;
    const row = await this.#db
      .selectFrom('users')
      .select(['password_hash', 'tokens_valid_from'])
      .where('uuid', '=', uuid)
      .executeTakeFirst();
    if (row === undefined || isOutdated(session, row.tokens_valid_from)) throw unauthenticated();
    const wrong = new AppError('unauthenticated', 'Incorrect old password');
    if (!(await this.#verify(oldPassword, row.password_hash))) throw wrong;
    const password_hash = await hashPassword(newPassword);
    await this.#endSessions(uuid, null, 'password_changed', async (trx) => {
      const changed = await trx
        .updateTable('users')
        .set({ password_hash, must_change_password: 0, tokens_valid_from: now() })
        .where('uuid', '=', uuid)
        // Of two changes at once, which both knew the old password, one wins and the other is told.
        .where('password_hash', '=', row.password_hash)
        // Nor may a session change it that lost its role or was signed out while the passwords were hashed.
        .where('tokens_valid_from', 'is not distinct from', row.tokens_valid_from)
        .returning('uuid')
        .executeTakeFirst();
      if (changed === undefined) throw wrong;
      // `tokens_valid_from` spares tokens of the same second that name no generation; the caller's own must not live on.
      if (!(await denylist(trx, session))) throw unauthenticated();
    });
  }

  /** Ends one session. */
  async endSession(session: Session): Promise<void> {
    await this.#endSessions(session.userUuid, session.jti, 'logout', async (trx) => {
      await denylist(trx, session);
    });
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
    this.#onCommitted(uuid);
  }
}

/**
 * Makes sure that somebody can still administer. Takes the rows of all admins until the transaction ends, by an UPDATE that
 * changes nothing: of two admins who remove each other at once, the second waits here and then finds itself the last.
 * @throws {AppError} `forbidden` when the user is the only admin
 */
async function assertOtherAdmin(trx: Trx, uuid: string): Promise<void> {
  const admins = await trx
    .updateTable('users')
    .set((eb) => ({ role: eb.ref('role') }))
    .where('role', '=', 'admin')
    .returning('uuid')
    .execute();
  if (admins.length > 1 || admins[0]?.uuid !== uuid) return;
  throw new AppError('forbidden', 'This is the last administrator; make somebody else one first');
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

/**
 * Refuses a session's tokens until they would have expired anyway, and forgets those that have.
 * @returns false when the session had been refused before
 */
async function denylist(trx: Trx, session: Session): Promise<boolean> {
  const revoked_at = now();
  await trx.deleteFrom('revoked_tokens').where('expires_at', '<', revoked_at).execute();
  const added = await trx
    .insertInto('revoked_tokens')
    .values({
      jti: session.jti,
      user_uuid: session.userUuid,
      expires_at: new Date(session.expiresAt).toISOString(),
      revoked_at,
    })
    .onConflict((conflict) => conflict.column('jti').doNothing())
    .returning('jti')
    .executeTakeFirst();
  return added !== undefined;
}

/** Every request asks this, so it is compiled once. Its parameters: the session's id, the user's. */
function sessionUserQuery(db: Db) {
  return db
    .selectFrom('users')
    .leftJoin('revoked_tokens', (join) => join.on('revoked_tokens.jti', '=', ''))
    .select(['uuid', 'username', 'role', 'must_change_password', 'tokens_valid_from', 'revoked_tokens.jti'])
    .where('uuid', '=', '');
}

type SessionUserRow = InferResult<ReturnType<typeof sessionUserQuery>>[number];

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
