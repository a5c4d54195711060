import { writeSync } from 'node:fs';
import { printable } from './printable.ts';

/** Whoever read our output has gone: there is nobody left to tell anything. */
export class OutputClosedError extends Error {
  constructor() {
    super('standard output was closed');
    this.name = 'OutputClosedError';
  }
}

/**
 * Writes lines to standard output; done when they are taken, so that a slow reader slows us down instead of filling memory.
 * @param lines without their line ends, printable
 * @throws {OutputClosedError} when the reader has gone (`… | head -1`)
 */
export async function writeLines(...lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  process.stdout.write(`${lines.join('\n')}\n`, (error) => {
    if (error) reject(isClosed(error) ? new OutputClosedError() : error);
    else resolve();
  });
  await promise;
}

/** One line for the person in front of it; standard output stays for what scripts read. */
export function note(message: string): void {
  try {
    // At once, and not when there is time for it: the process may end with the next line.
    writeSync(2, `decnet-live: ${printable(message)}\n`);
  } catch {
    // Nobody reads it, or nobody reads it now: it is not worth waiting for.
  }
}

/** Turns the error events of standard output, which would end the process, over to {@link writeLines}. */
export function watchOutput(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
}

function isClosed(error: NodeJS.ErrnoException): boolean {
  return error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED';
}

/** Columns as wide as their widest cell. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [head, ...rows].map((row) => row.map(printable));
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
