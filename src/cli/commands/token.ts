import { isJsonObject, type JsonObject } from '../../bus/event.ts';
import { type Api, signedIn } from '../api.ts';
import { CliError } from '../cli-error.ts';
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
      const owner = await ownerOf(api);
      if (options.json) return writeLines(jsonLine({ url: api.url, ...owner }));
      const { name, uuid, role, expires_at: seconds, ...rights } = owner;
      const lines = [`${name ?? uuid} at ${api.url}`, `role       ${role}`];
      for (const [right, value] of Object.entries(rights)) lines.push(`${right.padEnd(9)}  ${String(value)}`);
      lines.push(`expires    ${typeof seconds === 'number' ? until(seconds) : 'never'}`);
      await writeLines(...lines.map(printable));
    });
}

/** Whose token it is, with what it may do, as the server sees it. */
async function ownerOf(api: Api): Promise<JsonObject> {
  try {
    return await api.object('GET', '/auth/me');
  } catch (error) {
    if (!(error instanceof CliError && error.status === 404)) throw error;
  }
  // A server that does not tell so much: it has only users, and takes their tokens or refuses them.
  const { role } = await api.object('GET', '/config/');
  const claims = claimsOf(api.bearer);
  const login = readLogins().find(({ url, token }) => url === api.url && token === api.bearer);
  return { uuid: claims?.uuid, name: login?.username, role, expires_at: claims?.exp };
}

/** What the token says of itself; nobody here can check its signature, the server has. */
function claimsOf(token: string): JsonObject | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    return isJsonObject(claims) ? claims : undefined;
  } catch {
    return undefined;
  }
}

function until(seconds: number): string {
  const minutes = Math.max(0, Math.round((seconds - Date.now() / 1000) / 60));
  return `${new Date(seconds * 1000).toISOString()} (in ${minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`})`;
}
