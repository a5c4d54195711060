import { isJsonObject, type JsonObject } from '../../bus/event.ts';
import { type Api, signedIn } from '../api.ts';
import { command } from '../command.ts';
import { readLogins } from '../credentials.ts';
import { writeLines } from '../output.ts';
import { jsonLine, printable } from '../printable.ts';

const ABOUT = `
Never shows the token itself. A token cannot be renewed: the server offers no way but to sign in again.`;

export function tokenCommand() {
  return command('token', 'say whose token is used, what it may do and when it expires')
    .addHelpText('after', ABOUT)
    .action(async (options) => {
      const api = signedIn(options);
      const claims = claimsOf(api.bearer);
      // Asked first: of a token that the server does not accept, nothing is known.
      const config = await api.object('GET', '/config/');
      const uuid = typeof claims?.uuid === 'string' ? claims.uuid : undefined;
      const expires = typeof claims?.exp === 'number' ? new Date(claims.exp * 1000).toISOString() : null;
      const told = {
        url: api.url,
        user: nameOf(api, config, uuid) ?? null,
        uuid: uuid ?? null,
        role: String(config.role),
        expires,
      };
      if (options.json) return writeLines(jsonLine(told));
      const who = told.user ?? told.uuid ?? '(unknown)';
      await writeLines(
        `${printable(who)} at ${told.url}`,
        `role     ${printable(told.role)}`,
        `expires  ${expires === null ? 'not told' : `${expires} (in ${remaining(expires)})`}`,
      );
    });
}

/** What the token says of itself; nobody here can check its signature, the server does. */
function claimsOf(token: string): JsonObject | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    return isJsonObject(claims) ? claims : undefined;
  } catch {
    return undefined;
  }
}

/** Administrators are told all users; of others the server tells only the role. */
function nameOf(api: Api, { users }: JsonObject, uuid: string | undefined): string | undefined {
  const user = Array.isArray(users) ? users.find((each) => isJsonObject(each) && each.uuid === uuid) : undefined;
  if (isJsonObject(user)) return String(user.username);
  return readLogins().find(({ url, token }) => url === api.url && token === api.bearer)?.username;
}

function remaining(expires: string): string {
  const minutes = Math.max(0, Math.round((Date.parse(expires) - Date.now()) / 60_000));
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
