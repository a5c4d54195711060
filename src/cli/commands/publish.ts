import { readFileSync } from 'node:fs';
import { isJsonObject, type JsonObject, newEventId } from '../../bus/event.ts';
import { assertTopic } from '../../bus/topic.ts';
import { describeError } from '../../errors.ts';
import { type Api, signedIn } from '../api.ts';
import { CliError } from '../cli-error.ts';
import { command } from '../command.ts';
import { note, writeLines } from '../output.ts';
import { jsonLine, printable } from '../printable.ts';
import { type EventLine, eventBatches } from '../publish/event-lines.ts';
import { SocketPublisher } from '../publish/socket-publisher.ts';

/** A lost answer is asked for again; the id makes that harmless. */
const TRIES = 4;
const PAUSE_MS = 250;

const EXAMPLES = `
An event that is told to be published is durable in Redis. With an id of your own, publishing it again is harmless.

Examples:
  decnet-live publish attacker.observed --type seen --payload '{"ip":"192.0.2.7"}'
  decnet-live publish identity.formed --payload @event.json --id case-17
  decnet-live publish --stdin --json < events.ndjson    # {"topic","type"?,"payload"?,"id"?} a line`;

export function publishCommand() {
  return command('publish', 'publish an event, or many')
    .argument('[topic]')
    .option('--type <type>', 'the type of the event')
    .option('--payload <json>', 'a JSON object; @file reads it from a file, - from standard input')
    .option('--id <id>', '1 to 64 characters of A-Z, a-z, 0-9, _ and -')
    .option('--stdin', 'events from standard input, a JSON object a line; tells of each where it went')
    .addHelpText('after', EXAMPLES)
    .action(async (topic, options) => {
      if (options.stdin) {
        const isAlone = [topic, options.type, options.payload, options.id].every((value) => value === undefined);
        if (!isAlone)
          throw new CliError('usage', '--stdin reads topic, type, payload and id from each line; give none');
        return publishLines(signedIn(options), options.json === true);
      }
      const event = await eventOf(topic, options);
      const published = await publishOne(signedIn(options), event);
      await writeLines(options.json ? jsonLine(published) : asText(published));
    });
}

interface EventOptions {
  readonly type?: string | undefined;
  readonly payload?: string | undefined;
  readonly id?: string | undefined;
}

async function eventOf(topic: string | undefined, { type = '', payload, id = newEventId() }: EventOptions) {
  if (topic === undefined) throw new CliError('usage', 'say which topic, or --stdin');
  try {
    assertTopic(topic);
  } catch (error) {
    throw new CliError('usage', describeError(error));
  }
  return { topic, type, payload: await payloadOf(payload), id };
}

async function payloadOf(text: string | undefined): Promise<JsonObject> {
  if (text === undefined) return {};
  let payload: unknown;
  try {
    payload = JSON.parse(await contentOf(text));
  } catch (error) {
    if (!(error instanceof SyntaxError))
      throw new CliError('usage', `the payload cannot be read: ${describeError(error)}`);
  }
  if (isJsonObject(payload)) return payload;
  throw new CliError('usage', 'the payload must be a JSON object');
}

function contentOf(text: string): string | Promise<string> {
  if (text === '-') return Bun.stdin.text();
  return text.startsWith('@') ? readFileSync(text.slice(1), 'utf8') : text;
}

async function publishOne(api: Api, event: JsonObject): Promise<JsonObject> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await api.object('POST', '/events', event);
    } catch (error) {
      const mayRepeat = error instanceof CliError && error.exit === 'unreachable' && attempt < TRIES;
      if (!mayRepeat) throw error;
      await Bun.sleep(PAUSE_MS * 2 ** attempt);
    }
  }
}

async function publishLines(api: Api, isJson: boolean): Promise<void> {
  const publisher = new SocketPublisher(api);
  let [published, refused] = [0, 0];
  try {
    for await (const batch of eventBatches(Bun.stdin.stream())) {
      const events = batch.flatMap((line) => ('event' in line ? [line.event] : []));
      const answers = events.length === 0 ? [] : await publisher.publish(events);
      const told = batch.map((line) => answered(line, answers));
      const bad = told.filter(({ error }) => error !== undefined);
      refused += bad.length;
      published += told.length - bad.length;
      if (isJson) await writeLines(...told.map(jsonLine));
      else {
        for (const { line, error } of bad) note(`line ${line}: ${error}`);
        await writeLines(...told.filter(({ error }) => error === undefined).map(asText));
      }
    }
  } finally {
    publisher.close();
  }
  if (refused > 0) throw new CliError('partly', `${refused} refused, ${published} published`);
}

function answered(line: EventLine, answers: JsonObject[]): JsonObject {
  if ('problem' in line) return { line: line.line, error: line.problem };
  const { error, ...place } = answers.shift() ?? { error: { detail: 'no answer' } };
  if (error === undefined) return { line: line.line, ...place };
  return { line: line.line, id: line.event.id, error: isJsonObject(error) ? String(error.detail) : String(error) };
}

function asText({ id, epoch, offsets, duplicate }: JsonObject): string {
  const places = isJsonObject(offsets)
    ? Object.entries(offsets).map(([channel, offset]) => `${channel} ${offset}`)
    : [];
  const again = duplicate === true ? ' (published before)' : '';
  return printable(`${id}  ${epoch}: ${places.join(', ')}${again}`);
}
