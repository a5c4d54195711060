import { Api } from '../api.ts';
import { CliError } from '../cli-error.ts';
import { command } from '../command.ts';
import { type Check, examine, type Result } from '../doctor/check.ts';
import { remoteChecks } from '../doctor/remote-checks.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { note, writeLines } from '../output.ts';
import { jsonLine, printable } from '../printable.ts';
import { serverUrl, tokenFor } from '../settings.ts';

const ABOUT = `
Looks at the Redis and the database that the environment names, as a node does (DATABASE_URL, REDIS_URL, DECNET_DATA_DIR), and
walks every channel. It changes nothing, starts nothing, and may run beside a plane at work. With --url or DECNET_URL it asks
that node over HTTP instead; with --local as well, both. Says nothing where nothing is wrong; --verbose shows what was seen.`;

export function doctorCommand() {
  return command('doctor', 'examine a plane and say what to do about each finding')
    .option('--local', 'the services that the environment names, whatever --url or DECNET_URL say')
    .option('--verbose', 'tell what is well, too')
    .addHelpText('after', ABOUT)
    .action(async (options) => {
      const isRemote = options.url !== undefined || Boolean(process.env.DECNET_URL);
      const results: Result[] = [];
      const run = async (checks: readonly Check[]) => {
        for (const check of checks) {
          const result = await examine(check);
          results.push(result);
          await writeLines(...(options.json ? [jsonLine(result)] : asText(result, options.verbose === true)));
        }
      };
      if (isRemote) await run(remoteChecks(remote(options)));
      if (!isRemote || options.local) {
        // Loaded only here: the drivers take longer to load than all the rest of the program.
        const { openPlane } = await import('../doctor/plane.ts');
        const plane = await openPlane(process.env);
        await run(plane.checks).finally(() => plane.close());
      }
      conclude(results);
    });
}

/** Somebody who is not signed in learns less. */
function remote(options: Parameters<typeof tokenFor>[1]): Api {
  const url = serverUrl(options);
  try {
    return new Api(url, tokenFor(url, options));
  } catch (error) {
    if (error instanceof CliError && error.exit === 'unauthenticated') return new Api(url);
    throw error;
  }
}

function asText({ check, facts, findings, unknown }: Result, isVerbose: boolean): string[] {
  const lines = findings.flatMap(({ text, advice }) => [`${check}: ${text}`, `  → ${advice}`]);
  lines.push(...unknown.map((text) => `${check}: could not look: ${text}`));
  if (isVerbose && lines.length === 0) lines.push(`${check}: ok${facts === '' ? '' : ` (${facts})`}`);
  return lines.map(printable);
}

/** @throws never: what it found is no failure of its own */
function conclude(results: readonly Result[]): void {
  const is = (status: Result['status']) => results.some((result) => result.status === status);
  const count = results.reduce((sum, { findings }) => sum + findings.length, 0);
  if (is('unknown')) process.exitCode = EXIT_CODES.unreachable.code;
  else if (count > 0) process.exitCode = EXIT_CODES.failed.code;
  else if (process.stderr.isTTY) note('nothing to do');
}
