import { randomInt } from 'node:crypto';
import { hashPassword } from '../auth/passwords.ts';
import type { Role } from '../auth/principal.ts';
import { sessionRevoked } from '../auth/session-revoked.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import type { Db } from '../db/database.ts';

/** Somebody to sign in as. */
export interface DemoAccount {
  readonly username: string;
  readonly role: Role;
}

/** What to type in to sign in; for the terminal of the person who started the demonstration, never for a log. */
export interface DemoCredentials extends DemoAccount {
  readonly password: string;
}

/** One account for each role. */
export const DEMO_ACCOUNTS: readonly DemoAccount[] = [
  { username: 'admin', role: 'admin' },
  { username: 'viewer', role: 'viewer' },
];

/**
 * Creates the accounts that are missing, each with a random password that need not be changed.
 * @returns those that were created: their passwords are known only here and now
 */
export async function ensureDemoUsers(db: Db, accounts = DEMO_ACCOUNTS): Promise<DemoCredentials[]> {
  const names = accounts.map(({ username }) => username);
  const rows = await db.selectFrom('users').select('username').where('username', 'in', names).execute();
  const present = new Set(rows.map(({ username }) => username));
  const created: DemoCredentials[] = [];
  for (const account of accounts) {
    if (present.has(account.username)) continue;
    const password = readablePassword();
    const row = await db
      .insertInto('users')
      .values({
        uuid: crypto.randomUUID(),
        username: account.username,
        password_hash: await hashPassword(password),
        role: account.role,
        must_change_password: 0,
        tokens_valid_from: null,
      })
      // Another process may have created it since: its password is the one that counts.
      .onConflict((conflict) => conflict.column('username').doNothing())
      .returning('uuid')
      .executeTakeFirst();
    if (row !== undefined) created.push({ ...account, password });
  }
  return created;
}

/**
 * Gives every account a new random password and ends its sessions; creates the accounts that are missing.
 * @param now for the moment from which tokens are accepted again
 * @returns all accounts with their new passwords
 */
export async function resetDemoPasswords(
  db: Db,
  accounts = DEMO_ACCOUNTS,
  now: Date = new Date(),
): Promise<DemoCredentials[]> {
  const credentials = await ensureDemoUsers(db, accounts);
  const created = new Set(credentials.map(({ username }) => username));
  for (const account of accounts) {
    if (created.has(account.username)) continue;
    const password = readablePassword();
    const password_hash = await hashPassword(password);
    await db.transaction().execute(async (trx) => {
      const { uuid } = await trx
        .updateTable('users')
        .set({ password_hash, must_change_password: 0, tokens_valid_from: now.toISOString() })
        .where('username', '=', account.username)
        .returning('uuid')
        .executeTakeFirstOrThrow();
      await appendToOutbox(trx, [sessionRevoked(uuid, null, 'password_reset')]);
    });
    credentials.push({ ...account, password });
  }
  return credentials;
}

const CONSONANTS = 'bdfgklmnprstvz';
const VOWELS = 'aeiou';

/** Five pronounceable words, easy to retype from another screen: 70^10 of them, about 61 bits. */
function readablePassword(): string {
  const syllable = () => pick(CONSONANTS) + pick(VOWELS);
  return Array.from({ length: 5 }, () => syllable() + syllable()).join('-');
}

function pick(characters: string): string {
  return characters.charAt(randomInt(characters.length));
}
