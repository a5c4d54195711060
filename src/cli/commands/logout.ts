import { Api } from '../api.ts';
import { CliError } from '../cli-error.ts';
import { command } from '../command.ts';
import { removeLogin } from '../credentials.ts';
import { note, writeLines } from '../output.ts';
import { jsonLine } from '../printable.ts';
import { serverUrl } from '../settings.ts';

export function logoutCommand() {
  return command('logout', 'end the session that login began, and forget its token').action(async (options) => {
    const url = serverUrl(options);
    const login = removeLogin(url);
    if (login === undefined) throw new CliError('unauthenticated', `nobody was signed in at ${url}`);
    try {
      await new Api(url, login.token).call('POST', '/auth/logout');
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      // An ended session is what was asked for; one that could not be asked to end goes on until it expires.
      if (error.exit !== 'unauthenticated') {
        note('the token is forgotten here, but its session goes on until it expires');
        throw error;
      }
    }
    await writeLines(options.json ? jsonLine({ url, username: login.username }) : `signed out at ${url}`);
  });
}
