import { EXIT_CODES, type ExitName } from './exit-codes.ts';

/** Why a command ends without having done what it was asked for: one line for a person, and an exit code for a script. */
export class CliError extends Error {
  readonly exit: ExitName;
  /** Of the answer that refused it, where one did. */
  readonly status: number | undefined;

  constructor(exit: ExitName, message: string, status?: number) {
    super(message);
    this.name = 'CliError';
    this.exit = exit;
    this.status = status;
  }

  get code(): number {
    return EXIT_CODES[this.exit].code;
  }
}
