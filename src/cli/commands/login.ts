import { Api } from '../api.ts';
import { CliError } from '../cli-error.ts';
import { command } from '../command.ts';
import { loginsFile, storeLogin } from '../credentials.ts';
import { note, writeLines } from '../output.ts';
import { jsonLine, printable } from '../printable.ts';
import { ask, newSecret, secret } from '../secret-input.ts';
import { serverUrl } from '../settings.ts';

const EXAMPLES = `
The password is typed, or is the first line of standard input. Who has to change it types a new one, or gives it as the
second line. The token is kept in $XDG_CONFIG_HOME/decnet-live/logins.json, for you alone, and goes to this server only.

Examples:
  decnet-live login --url https://decnet.example.net ana
  printf '%s\\n' "$PASSWORD" | decnet-live login ana`;

export function loginCommand() {
  return command('login', 'sign in, and keep the token for the other commands')
    .argument('[username]', 'otherwise asked for')
    .addHelpText('after', EXAMPLES)
    .action(async (given, options) => {
      const url = serverUrl(options);
      warnOfPlainHttp(url);
      const username = given ?? (await ask('username'));
      const token = await signIn(url, username, await secret('password'));
      storeLogin({ url, username, token });
      const line = options.json
        ? jsonLine({ url, username, file: loginsFile() })
        : `signed in at ${url} as ${printable(username)}`;
      await writeLines(line);
    });
}

async function signIn(url: string, username: string, password: string): Promise<string> {
  const { token, mustChange } = await request(url, username, password);
  if (!mustChange) return token;
  note('the password must be changed first');
  const fresh = await newSecret('new password');
  if (fresh === undefined)
    throw new CliError('forbidden', 'give the new password as the second line of standard input');
  await new Api(url, token).call('POST', '/auth/change-password', { old_password: password, new_password: fresh });
  return (await request(url, username, fresh)).token;
}

async function request(url: string, username: string, password: string) {
  const answer = await new Api(url).object('POST', '/auth/login', { username, password });
  if (typeof answer.access_token === 'string')
    return { token: answer.access_token, mustChange: answer.must_change_password === true };
  throw new CliError('failed', `${url} does not answer as decnet-live does: is the URL right?`);
}

function warnOfPlainHttp(url: string): void {
  const { protocol, hostname } = new URL(url);
  const isHere = hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.');
  if (protocol === 'http:' && !isHere) note('this is plain http: whoever is on the way reads the password; use https');
}
