import { Command } from '@commander-js/extra-typings';
import { isJsonObject, type JsonObject } from '../../bus/event.ts';
import { type Api, signedIn } from '../api.ts';
import { CliError } from '../cli-error.ts';
import { command } from '../command.ts';
import { durationSeconds, pattern } from '../option-values.ts';
import { note, table, writeLines } from '../output.ts';
import { jsonLine, printable } from '../printable.ts';

const PATH = '/service-accounts';
const SECRETS = `
The secret is shown this once, on standard output; keep it as a token file: … --token-file, or DECNET_TOKEN.`;

export function accountsCommand() {
  return new Command('accounts')
    .description('service accounts for programs: list, create, change, rotate, delete (administrators)')
    .addCommand(list())
    .addCommand(create())
    .addCommand(update())
    .addCommand(rotate())
    .addCommand(remove());
}

function list() {
  return command('list', 'all service accounts').action(async (options) => {
    const accounts = await allAccounts(signedIn(options));
    if (options.json) return writeLines(...accounts.map(jsonLine));
    const rows = accounts.map((account) => [
      String(account.name),
      words(account.publish),
      words(account.subscribe),
      account.control === true ? 'yes' : 'no',
      dateOf(account.last_used_at, 'never'),
      isRevoked(account) ? `revoked ${dateOf(account.revoked_at, '')}` : dateOf(account.expires_at, 'never'),
      String(account.uuid),
    ]);
    await writeLines(...table(['NAME', 'PUBLISH', 'SUBSCRIBE', 'CONTROL', 'USED', 'ENDS', 'UUID'], rows));
  });
}

function create() {
  return command('create', 'create a service account and show its secret, once')
    .argument('<name>')
    .option('--publish <patterns...>', 'topics that it may publish', pattern)
    .option('--subscribe <patterns...>', 'topics that it may be told', pattern)
    .option('--control', 'it may publish system.*.control, where a pattern allows it')
    .option(
      '--expires <in>',
      'its secret is good for so long, such as 90d; otherwise until it is rotated',
      durationSeconds,
    )
    .addHelpText('after', SECRETS)
    .action(async (name, options) => {
      const { publish = [], subscribe = [], control = false, expires } = options;
      const body = { name, publish, subscribe, control, expires_at: expires === undefined ? null : inSeconds(expires) };
      await showSecret(await signedIn(options).object('POST', PATH, body), options);
    });
}

function update() {
  return command('update', 'change what a service account may do')
    .argument('<account>', 'name or UUID')
    .option('--publish <patterns...>', 'topics that it may publish, instead of those of before', pattern)
    .option('--subscribe <patterns...>', 'topics that it may be told, instead of those of before', pattern)
    .option('--control', 'it may publish system.*.control')
    .option('--no-control', 'it may not')
    .action(async (name, options) => {
      const { publish, subscribe, control } = options;
      const body = {
        ...(publish === undefined ? {} : { publish }),
        ...(subscribe === undefined ? {} : { subscribe }),
        ...(control === undefined ? {} : { control }),
      };
      if (Object.keys(body).length === 0) throw new CliError('usage', 'say what is to change; --help lists what can');
      const api = signedIn(options);
      const uuid = await find(api, name);
      await api.call('PATCH', `${PATH}/${uuid}`, body);
      await writeLines(options.json ? jsonLine({ uuid, ...body }) : `changed ${printable(name)}`);
    });
}

function rotate() {
  return command('rotate', 'give a service account another secret and show it, once')
    .argument('<account>', 'name or UUID')
    .option(
      '--grace <time>',
      'the secret of before is good for so long, such as 10m; otherwise it ends now',
      durationSeconds,
    )
    .addHelpText('after', SECRETS)
    .action(async (name, options) => {
      const api = signedIn(options);
      const uuid = await find(api, name);
      const body = options.grace === undefined ? {} : { grace_seconds: options.grace };
      await showSecret(await api.object('POST', `${PATH}/${uuid}/rotate`, body), options);
    });
}

function remove() {
  return command('delete', 'delete a service account; what it has open ends')
    .argument('<account>', 'name or UUID')
    .action(async (name, options) => {
      const api = signedIn(options);
      const uuid = await find(api, name);
      await api.call('DELETE', `${PATH}/${uuid}`);
      await writeLines(options.json ? jsonLine({ uuid }) : `deleted ${printable(name)}`);
    });
}

async function allAccounts(api: Api): Promise<JsonObject[]> {
  const { items } = await api.object('GET', PATH);
  return Array.isArray(items) ? items.filter(isJsonObject) : [];
}

async function find(api: Api, name: string): Promise<string> {
  const accounts = await allAccounts(api);
  const account =
    // The name of one that is revoked is free for another.
    accounts.find((each) => each.name === name && !isRevoked(each)) ?? accounts.find((each) => each.uuid === name);
  if (account === undefined) throw new CliError('failed', `there is no service account '${name}'`);
  return encodeURIComponent(String(account.uuid));
}

/** To standard output alone, so that `> token` holds nothing else. */
async function showSecret(account: JsonObject, { json }: { readonly json?: boolean | undefined }): Promise<void> {
  if (json) return writeLines(jsonLine(account));
  if (typeof account.secret !== 'string') throw new CliError('failed', 'the server showed no secret');
  note('the secret, shown this once:');
  await writeLines(printable(account.secret));
}

const isRevoked = ({ revoked_at: at }: JsonObject) => typeof at === 'number';
const dateOf = (seconds: unknown, otherwise: string) =>
  typeof seconds === 'number' ? new Date(seconds * 1000).toISOString() : otherwise;
const words = (value: unknown) => (Array.isArray(value) && value.length > 0 ? value.map(String).join(',') : '-');
const inSeconds = (seconds: number) => Math.floor(Date.now() / 1000) + seconds;
