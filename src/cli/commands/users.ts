import { Argument, Command, Option } from '@commander-js/extra-typings';
import { ROLES } from '../../auth/principal.ts';
import { isJsonObject, type JsonObject } from '../../bus/event.ts';
import { type Api, signedIn } from '../api.ts';
import { CliError } from '../cli-error.ts';
import { command } from '../command.ts';
import { table, writeLines } from '../output.ts';
import { jsonLine, printable } from '../printable.ts';
import { newSecret } from '../secret-input.ts';

const PASSWORDS = `
The new password is typed, or is the first line of standard input. Who gets one has to change it at the first sign-in.`;

export function usersCommand() {
  return new Command('users')
    .description('list, create, change and delete users (administrators)')
    .addCommand(list())
    .addCommand(create())
    .addCommand(role())
    .addCommand(resetPassword())
    .addCommand(remove());
}

function list() {
  return command('list', 'all users').action(async (options) => {
    const users = await allUsers(signedIn(options));
    if (options.json) return writeLines(...users.map(jsonLine));
    const rows = users.map(({ username, role, uuid, must_change_password: must }) =>
      [username, role, uuid, must === true ? 'must change the password' : ''].map(String),
    );
    await writeLines(...table(['USERNAME', 'ROLE', 'UUID', ''], rows));
  });
}

function create() {
  return command('create', 'create a user')
    .argument('<username>')
    .addOption(new Option('--role <role>', 'what the user may do').choices(ROLES).default('viewer' as const))
    .addHelpText('after', PASSWORDS)
    .action(async (username, options) => {
      const api = signedIn(options);
      const user = await api.object('POST', '/config/users', {
        username,
        password: await password(),
        role: options.role,
      });
      await writeLines(options.json ? jsonLine(user) : `created ${printable(username)} (${options.role})`);
    });
}

function role() {
  return command('role', 'change what a user may do; ends the sessions of the user')
    .argument('<user>', 'name or UUID')
    .addArgument(new Argument('<role>').choices(ROLES))
    .action(async (name, wanted, options) => {
      const api = signedIn(options);
      const { uuid } = await find(api, name);
      await api.call('PUT', `/config/users/${uuid}/role`, { role: wanted });
      await writeLines(options.json ? jsonLine({ uuid, role: wanted }) : `${printable(name)} is ${wanted} now`);
    });
}

function resetPassword() {
  return command('reset-password', 'give a user another password; ends the sessions of the user')
    .argument('<user>', 'name or UUID')
    .addHelpText('after', PASSWORDS)
    .action(async (name, options) => {
      const api = signedIn(options);
      const { uuid } = await find(api, name);
      await api.call('PUT', `/config/users/${uuid}/reset-password`, { new_password: await password() });
      await writeLines(options.json ? jsonLine({ uuid }) : `${printable(name)} has another password now`);
    });
}

function remove() {
  return command('delete', 'delete a user; ends the sessions of the user')
    .argument('<user>', 'name or UUID')
    .action(async (name, options) => {
      const api = signedIn(options);
      const { uuid } = await find(api, name);
      await api.call('DELETE', `/config/users/${uuid}`);
      await writeLines(options.json ? jsonLine({ uuid }) : `deleted ${printable(name)}`);
    });
}

async function allUsers(api: Api): Promise<JsonObject[]> {
  const { users } = await api.object('GET', '/config/');
  if (!Array.isArray(users)) throw new CliError('forbidden', 'only administrators see the users');
  return users.filter(isJsonObject);
}

async function find(api: Api, name: string): Promise<{ readonly uuid: string }> {
  const users = await allUsers(api);
  // A name that looks like somebody's UUID is still a name.
  const user = users.find(({ username }) => username === name) ?? users.find(({ uuid }) => uuid === name);
  if (user === undefined) throw new CliError('failed', `there is no user '${name}'`);
  return { uuid: encodeURIComponent(String(user.uuid)) };
}

async function password(): Promise<string> {
  const given = await newSecret('new password');
  if (given === undefined || given === '')
    throw new CliError('usage', 'give the new password as a line of standard input');
  return given;
}
