import { Command, InvalidArgumentError } from '@commander-js/extra-typings';
import { isJsonObject, type JsonObject } from '../../bus/event.ts';
import { type Api, signedIn } from '../api.ts';
import { CliError } from '../cli-error.ts';
import { command } from '../command.ts';
import { durationSeconds, positiveInteger } from '../option-values.ts';
import { note, table, writeLines } from '../output.ts';
import { jsonLine, printable } from '../printable.ts';

const PATH = '/webhooks';
const STATES = ['pending', 'delivered', 'dead'] as const;
const POLL_MS = 1000;
/** What one request answers at most. */
const MOST = 500;
const WEBHOOK = ['<webhook>', 'name or UUID'] as const;

interface Shown {
  readonly json?: boolean | undefined;
}

export function webhooksCommand() {
  return new Command('webhooks')
    .description('webhooks: what is delivered and what was not; test, redeliver, rotate secrets (administrators)')
    .addCommand(list())
    .addCommand(testPing())
    .addCommand(deliveries())
    .addCommand(dead())
    .addCommand(redeliver())
    .addCommand(drop())
    .addCommand(rotateSecret())
    .addCommand(reencrypt());
}

function list() {
  return command('list', 'all webhooks and how they are doing').action(async (options) => {
    const webhooks = await allWebhooks(signedIn(options));
    if (options.json) return writeLines(...webhooks.map(jsonLine));
    const rows = webhooks.map((webhook) => {
      const stats = objectOf(webhook.stats);
      const health = webhook.enabled === true ? text(objectOf(webhook.breaker).state) : 'disabled';
      return [
        ...[text(webhook.name), health, text(stats.delivered)],
        // More waits in the log than is counted; what was dropped is no dead letter any more.
        `${text(stats.pending)}${isJsonObject(webhook.behind) ? '+' : ''}`,
        `${text(stats.dead)}${Number(stats.dead_dropped ?? 0) > 0 ? ` (-${text(stats.dead_dropped)})` : ''}`,
        ...[`${text(stats.lag_seconds)} s`, text(webhook.last_error), text(webhook.url)],
      ];
    });
    const head = ['NAME', 'BREAKER', 'DELIVERED', 'PENDING', 'DEAD', 'LAG', 'LAST ERROR', 'URL'];
    await writeLines(...table(head, rows));
  });
}

function testPing() {
  return command('test', 'send a synthetic event, once')
    .argument(...WEBHOOK)
    .action(async (name, options) => {
      const api = signedIn(options);
      const answer = await api.object('POST', `${PATH}/${await find(api, name)}/test`);
      if (options.json) await writeLines(jsonLine(answer));
      if (answer.delivered !== true) throw new CliError('failed', `not delivered: ${text(answer.error)}`);
      if (!options.json) await writeLines(`delivered (HTTP ${text(answer.status_code)})`);
    });
}

function deliveries() {
  return command('deliveries', 'the newest deliveries, the newest last')
    .argument(...WEBHOOK)
    .option('--state <state>', `only those that are ${STATES.join(', ')}`, state)
    .option('--limit <count>', 'how many', positiveInteger, 20)
    .option('-f, --follow', 'go on with those that come; Ctrl-C ends it')
    .action(async (name, options) => {
      const api = signedIn(options);
      const uuid = await find(api, name);
      const query = options.state === undefined ? '' : `&state=${options.state}`;
      let shown = await pageOf(api, uuid, `${query}&limit=${Math.min(options.limit, MOST)}`);
      await show(shown, options);
      if (!options.follow) return;
      for (let last = seqOf(shown.at(-1)); ; last = Math.max(last, seqOf(shown.at(-1)))) {
        await Bun.sleep(POLL_MS);
        shown = await newerThan(api, uuid, query, last);
        await show(shown, options);
      }
    });
}

function dead() {
  return command('dead', 'the dead letters, or one of them with its event and what went wrong')
    .argument(...WEBHOOK)
    .argument('[seq]', 'its number', positiveInteger)
    .option('--limit <count>', 'how many of the newest', positiveInteger, 50)
    .action(async (name, seq, options) => {
      const api = signedIn(options);
      const uuid = await find(api, name);
      if (seq === undefined) {
        return show(await pageOf(api, uuid, `&state=dead&limit=${Math.min(options.limit, MOST)}`), options);
      }
      const one = await api.object('GET', `${PATH}/${uuid}/deliveries/${seq}`);
      if (options.json) return writeLines(jsonLine(one));
      await writeLines(...JSON.stringify(one, null, 2).split('\n').map(printable));
    });
}

function redeliver() {
  return command('redeliver', 'give dead letters another turn')
    .argument(...WEBHOOK)
    .argument('[seqs...]', 'their numbers, or ranges such as 10-20')
    .option('--all', 'all of them')
    .action(async (name, seqs, options) => {
      const count = await forEach(options, name, seqs, 'redeliver', 'redelivered');
      await writeLines(options.json ? jsonLine({ redelivered: count }) : `${count} are delivered again`);
    });
}

function drop() {
  return command('drop', 'give dead letters up; they are gone')
    .argument(...WEBHOOK)
    .argument('[seqs...]', 'their numbers, or ranges such as 10-20')
    .option('--all', 'all of them')
    .action(async (name, seqs, options) => {
      const count = await forEach(options, name, seqs, 'drop', 'dropped');
      await writeLines(options.json ? jsonLine({ dropped: count }) : `${count} are gone`);
    });
}

function rotateSecret() {
  return command('rotate-secret', 'give a webhook another secret and show it, once')
    .argument(...WEBHOOK)
    .option(
      '--grace <time>',
      'requests are signed with both for so long, such as 2h; otherwise for a day',
      durationSeconds,
    )
    .option('--at-once', 'the secret of before ends now')
    .action(async (name, options) => {
      const api = signedIn(options);
      const grace = options.atOnce ? 0 : options.grace;
      const body = grace === undefined ? {} : { grace_seconds: grace };
      const answer = await api.object('POST', `${PATH}/${await find(api, name)}/rotate-secret`, body);
      if (options.json) return writeLines(jsonLine(answer));
      if (typeof answer.secret !== 'string') throw new CliError('failed', 'the server showed no secret');
      note('the secret, shown this once:');
      await writeLines(printable(answer.secret));
    });
}

function reencrypt() {
  return command('reencrypt', 'seal all secrets with the first key of DECNET_WEBHOOK_KEYS').action(async (options) => {
    const answer = await signedIn(options).object('POST', `${PATH}/reencrypt`);
    const lost = Array.isArray(answer.unreadable) ? answer.unreadable.map(text) : [];
    await writeLines(options.json ? jsonLine(answer) : `${text(answer.reencrypted)} were sealed anew`);
    if (lost.length > 0) throw new CliError('failed', `no key opens the secrets of ${lost.join(', ')}; rotate them`);
  });
}

async function forEach(
  options: Shown & { readonly all?: true | undefined },
  name: string,
  words: readonly string[],
  action: string,
  counted: string,
): Promise<number> {
  if (words.length > 0 === (options.all === true)) throw new CliError('usage', 'give numbers, or --all');
  const orders = options.all ? [{ all: true }] : ordersOf(words);
  const api = signedIn(options);
  const uuid = await find(api, name);
  let count = 0;
  for (const order of orders) {
    const answer = await api.object('POST', `${PATH}/${uuid}/deliveries/${action}`, order);
    count += Number(answer[counted] ?? 0);
  }
  return count;
}

/** One request for all numbers, one for each range. */
function ordersOf(words: readonly string[]): JsonObject[] {
  const seqs: number[] = [];
  const ranges: JsonObject[] = [];
  for (const word of words) {
    const [, from = '', to] = /^([1-9]\d{0,14})(?:-([1-9]\d{0,14}))?$/.exec(word) ?? [];
    if (from === '') throw new CliError('usage', `'${word}' is neither a number nor a range such as 10-20`);
    if (to === undefined) seqs.push(Number(from));
    else ranges.push({ from: Number(from), to: Number(to) });
  }
  const parts = Array.from({ length: Math.ceil(seqs.length / MOST) }, (_, index) => ({
    seqs: seqs.slice(index * MOST, (index + 1) * MOST),
  }));
  return [...parts, ...ranges];
}

/** The oldest first. */
async function pageOf(api: Api, uuid: string, query: string): Promise<JsonObject[]> {
  const { items } = await api.object('GET', `${PATH}/${uuid}/deliveries?${query.slice(1)}`);
  return (Array.isArray(items) ? items.filter(isJsonObject) : []).reverse();
}

async function newerThan(api: Api, uuid: string, query: string, last: number): Promise<JsonObject[]> {
  const all: JsonObject[] = [];
  for (let before = ''; ; ) {
    const page = await pageOf(api, uuid, `${query}&limit=${MOST}${before}`);
    const newer = page.filter((each) => seqOf(each) > last);
    all.unshift(...newer);
    if (newer.length < MOST) return all;
    before = `&before=${seqOf(newer[0])}`;
  }
}

async function show(rows: readonly JsonObject[], { json }: Shown): Promise<void> {
  if (json) return writeLines(...rows.map(jsonLine));
  await writeLines(
    ...rows.map((row) => {
      const latency = row.latency_ms === null ? '' : `${text(row.latency_ms)} ms`;
      const words = [row.seq, row.created_at, row.state, row.topic, row.event_id, row.status ?? '', latency];
      return printable([...words.map(text), text(row.error)].filter((word) => word !== '').join('  '));
    }),
  );
}

async function allWebhooks(api: Api): Promise<JsonObject[]> {
  const answer = await api.call('GET', `${PATH}/`);
  return Array.isArray(answer) ? answer.filter(isJsonObject) : [];
}

async function find(api: Api, name: string): Promise<string> {
  const webhooks = await allWebhooks(api);
  const webhook = webhooks.find((each) => each.name === name) ?? webhooks.find((each) => each.uuid === name);
  if (webhook === undefined) throw new CliError('failed', `there is no webhook '${name}'`);
  return encodeURIComponent(String(webhook.uuid));
}

function state(word: string) {
  const found = STATES.find((each) => each === word);
  if (found === undefined) throw new InvalidArgumentError(`Give one of ${STATES.join(', ')}.`);
  return found;
}

const seqOf = (row: JsonObject | undefined) => (typeof row?.seq === 'number' ? row.seq : 0);
const objectOf = (value: unknown): JsonObject => (isJsonObject(value) ? value : {});
const text = (value: unknown) => (value === null || value === undefined ? '' : String(value));
