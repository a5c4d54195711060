import { signedIn } from '../api.ts';
import { command } from '../command.ts';
import { writeLines } from '../output.ts';
import { jsonLine, printable } from '../printable.ts';

const ABOUT = `
Never shows the token itself. A token cannot be renewed: the server offers no way but to sign in again.`;

export function tokenCommand() {
  return command('token', 'say whose token is used, what it may do and when it expires')
    .addHelpText('after', ABOUT)
    .action(async (options) => {
      const api = signedIn(options);
      const owner = await api.object('GET', '/auth/me');
      if (options.json) return writeLines(jsonLine({ url: api.url, ...owner }));
      const { name, uuid, role, expires_at: seconds, ...rights } = owner;
      const lines = [`${name ?? uuid} at ${api.url}`, `role       ${role}`];
      for (const [right, value] of Object.entries(rights)) lines.push(`${right.padEnd(9)}  ${String(value)}`);
      lines.push(`expires    ${typeof seconds === 'number' ? until(seconds) : 'never'}`);
      await writeLines(...lines.map(printable));
    });
}

function until(seconds: number): string {
  const minutes = Math.max(0, Math.round((seconds - Date.now() / 1000) / 60));
  return `${new Date(seconds * 1000).toISOString()} (in ${minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`})`;
}
