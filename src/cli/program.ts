import tab from '@bomb.sh/tab/commander';
import { Command as TypedCommand } from '@commander-js/extra-typings';
import { type Command, CommanderError } from 'commander';
import { version } from '../../package.json';
import { describeError } from '../errors.ts';
import { CliError } from './cli-error.ts';
import { accountsCommand } from './commands/accounts.ts';
import { doctorCommand } from './commands/doctor.ts';
import { loginCommand } from './commands/login.ts';
import { logoutCommand } from './commands/logout.ts';
import { projectCommand } from './commands/project.ts';
import { publishCommand } from './commands/publish.ts';
import { tailCommand } from './commands/tail.ts';
import { tokenCommand } from './commands/token.ts';
import { usersCommand } from './commands/users.ts';
import { webhooksCommand } from './commands/webhooks.ts';
import { EXIT_CODES, exitCodesHelp } from './exit-codes.ts';
import { note, OutputClosedError } from './output.ts';
import { closeInput } from './secret-input.ts';

/** Every command, in the order of the help. Another one is a file and a line here. */
const COMMANDS = [
  tailCommand,
  publishCommand,
  loginCommand,
  logoutCommand,
  tokenCommand,
  usersCommand,
  accountsCommand,
  webhooksCommand,
  doctorCommand,
  projectCommand,
];

function createProgram(): Command {
  const typed = new TypedCommand('decnet-live')
    .description('Watch, feed, administer and examine a decnet-live event plane.')
    .version(version)
    .addHelpText('afterAll', exitCodesHelp());
  // The typings of extra-typings and commander describe the same object.
  const program = typed as unknown as Command;
  for (const make of COMMANDS) program.addCommand(make() as unknown as Command);
  tab(program, { completionCommandName: 'completion' });
  throwInsteadOfExit(program);
  return program;
}

/** Not inherited by commands that are added ready-made. */
function throwInsteadOfExit(command: Command): void {
  const outputError = (text: string) => note(`${oneLine(text.replace(/^error: /, ''))} (--help says more)`);
  command.exitOverride().configureOutput({ outputError });
  for (const each of command.commands) throwInsteadOfExit(each);
}

const oneLine = (text: string) => text.trim().replace(/\s*\n\s*/g, ' ');

/**
 * Runs one command.
 * @param args without the program
 * @returns its exit code
 */
export async function run(args: readonly string[]): Promise<number> {
  try {
    await createProgram().parseAsync(args, { from: 'user' });
    return Number(process.exitCode ?? EXIT_CODES.ok.code);
  } catch (error) {
    return exitCodeOf(error);
  } finally {
    closeInput();
  }
}

function exitCodeOf(error: unknown): number {
  // Whoever read the output had enough of it.
  if (error instanceof OutputClosedError) return EXIT_CODES.ok.code;
  // Has said already what is wrong, or shown what was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_CODES.ok.code : EXIT_CODES.usage.code;
  if (error instanceof CliError) {
    note(error.message);
    return error.code;
  }
  note(`this should not happen: ${describeError(error)}`);
  if (process.env.DECNET_DEVELOPER === 'true' && error instanceof Error) console.error(error.stack);
  return EXIT_CODES.internal.code;
}
