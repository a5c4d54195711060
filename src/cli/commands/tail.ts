import { InvalidArgumentError } from '@commander-js/extra-typings';
import { parseCursor } from '../../bus/cursor.ts';
import { signedIn } from '../api.ts';
import { CliError } from '../cli-error.ts';
import { command } from '../command.ts';
import { type FollowedEvent, Follower } from '../follow.ts';
import { pattern, positiveInteger } from '../option-values.ts';
import { note, writeLines } from '../output.ts';
import { jsonLine, printable } from '../printable.ts';

const EXAMPLES = `
Patterns: * is one token, > is the rest. Quote them: 'attacker.>' 'decky.*.state'

Examples:
  decnet-live tail 'attacker.>' --since 10m
  decnet-live tail '>' --json --since 1h --once | jq .payload
  decnet-live tail 'topology.>' --from u9gu8xp1.2.4c0d72d8 --strict`;

export function tailCommand() {
  return command('tail', 'show events as they happen; comes back by itself when the connection or the server dies')
    .argument('<patterns...>', 'patterns of topics', pattern)
    .option('--from <cursor>', 'go on behind this event: the id of a line before', cursor)
    .option(
      '--since <time>',
      'begin so long ago (90s, 10m, 2h, 7d), or at seconds since 1970; 0 is all that is kept',
      time,
    )
    .option('--once', 'end when all is told that was there')
    .option('--limit <n>', 'end after so many events', positiveInteger)
    .option('--strict', 'end with an error when history is missing, instead of going on')
    .addHelpText('after', EXAMPLES)
    .action(async (patterns, options) => {
      if (options.from !== undefined && options.since !== undefined) {
        throw new CliError('usage', 'give --from or --since, not both');
      }
      const interrupted = new AbortController();
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort());
      const follower = new Follower(signedIn(options), {
        ...{ patterns, from: options.from, since: options.since },
        once: options.once === true,
        takesLess: options.strict !== true,
        signal: interrupted.signal,
      });
      await show(follower, options);
      if (!interrupted.signal.aborted) return;
      const { cursor: at } = follower;
      throw new CliError('interrupted', at === undefined ? 'stopped' : `stopped; go on with --from ${at}`);
    });
}

interface ShowOptions {
  readonly json?: boolean | undefined;
  readonly limit?: number | undefined;
  readonly strict?: boolean | undefined;
}

async function show(
  follower: Follower,
  { json, limit = Number.POSITIVE_INFINITY, strict }: ShowOptions,
): Promise<void> {
  let left = limit;
  for await (const step of follower.run()) {
    if (step.kind === 'note') note(step.text);
    else if (step.kind === 'reset') {
      const text = `reset (${step.reason}): ${REASONS[step.reason] ?? 'the place cannot be honoured'}`;
      if (strict) throw new CliError('reset', text);
      note(text);
    } else {
      const due = step.events.slice(0, left);
      await writeLines(...due.map(json ? asJson : asText));
      left -= due.length;
      if (left <= 0) return;
    }
  }
}

const REASONS: Readonly<Record<string, string>> = {
  trimmed: 'history behind the place asked for is gone; going on with what there is',
  epoch: 'the log was flushed or replaced; going on from where it stands now',
  ahead: 'the log came back older than it was; going on from where it stands now',
  malformed: 'that is no cursor; going on from where the log stands now',
};

function asJson({ id, data }: FollowedEvent): string {
  const { topic, type, ts, payload } = data;
  return jsonLine({ id, topic, type, ts, payload });
}

function asText({ data }: FollowedEvent): string {
  const { topic, type, ts, payload } = data;
  const when = typeof ts === 'number' && Math.abs(ts) < 8e12 ? new Date(ts * 1000).toISOString() : '(no time)';
  const kind = type === '' || type === undefined ? '' : `  ${printable(String(type))}`;
  return `${when}  ${printable(String(topic))}${kind}  ${jsonLine(payload ?? {})}`;
}

function cursor(text: string): string {
  if (parseCursor(text) !== undefined) return text;
  throw new InvalidArgumentError('A cursor is the id of a line that tail --json has written.');
}

function time(text: string): string {
  if (/^(?:\d{1,12}(?:\.\d{1,6})?|[1-9]\d{0,8}[smhd])$/.test(text)) return text;
  throw new InvalidArgumentError('Give a number with s, m, h or d such as 10m, or seconds since 1970.');
}
