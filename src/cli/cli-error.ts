import { EXIT_CODES, type ExitName } from './exit-codes.ts';

/** Why a command ends without having done what it was asked for: one line for a person, and an exit code for a script. */
export class CliError extends Error {
  readonly exit: ExitName;

  constructor(exit: ExitName, message: string) {
    super(message);
    this.name = 'CliError';
    this.exit = exit;
  }

  get code(): number {
    return EXIT_CODES[this.exit].code;
  }
}
