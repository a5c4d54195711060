import { createInterface, type Interface } from 'node:readline';
import { read } from 'read';
import { CliError } from './cli-error.ts';

let lines: AsyncIterator<string> | undefined;
let input: Interface | undefined;

/**
 * A secret: typed without being shown, or the next line of standard input. Never from the command line, which everybody on
 * the machine can see.
 * @throws {CliError} `usage` when there is none
 */
export async function secret(prompt: string): Promise<string> {
  const given = process.stdin.isTTY ? await typed(prompt, true) : await nextLine();
  if (given === undefined || given === '')
    throw new CliError('usage', `no ${prompt}: type it, or give it as a line of standard input`);
  return given;
}

/** A new secret: typed twice, or the next line of standard input; `undefined` when that has none. */
export async function newSecret(prompt: string): Promise<string | undefined> {
  if (!process.stdin.isTTY) return nextLine();
  const first = await secret(prompt);
  if (first === (await secret(`${prompt} again`))) return first;
  throw new CliError('usage', 'the two are not the same');
}

/** Text that may be seen. */
export async function ask(prompt: string): Promise<string> {
  if (!process.stdin.isTTY) throw new CliError('usage', `no ${prompt} was given`);
  return typed(prompt, false);
}

/** Lets the process end although standard input is open. */
export function closeInput(): void {
  input?.close();
  process.stdin.unref?.();
}

async function typed(prompt: string, silent: boolean): Promise<string> {
  try {
    // To standard error: the output may be read by a program.
    return await read({ prompt: `${prompt}: `, silent, output: process.stderr });
  } catch {
    throw new CliError('interrupted', 'canceled');
  }
}

async function nextLine(): Promise<string | undefined> {
  input ??= createInterface({ input: process.stdin });
  lines ??= input[Symbol.asyncIterator]();
  const { value, done } = await lines.next();
  return done === true ? undefined : value;
}
