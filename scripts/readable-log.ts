import { styleText } from 'node:util';
import { LOG_LEVELS, type LogLevel } from '../src/telemetry/log.ts';

const COLOURS = { debug: 'gray', info: 'green', warn: 'yellow', error: 'red' } as const;

/**
 * Makes a line of the structured log easy on the eyes: `10:42:07 info  server started  url=http://…`. A line that is not
 * one of ours comes back as it is.
 * @param line JSON, as `createLog` writes it
 * @param coloured for a terminal
 */
export function readableLine(line: string, coloured: boolean): string {
  const entry = parse(line);
  if (entry === undefined) return line;
  const { ts, level, message, ...fields } = entry;
  const paint = (colour: Parameters<typeof styleText>[0], text: string) =>
    coloured ? styleText(colour, text, { validateStream: false }) : text;
  const time = new Date(ts).toLocaleTimeString('en-GB');
  const details = Object.entries(fields).map(([name, value]) => `${name}=${readableValue(value)}`);
  return [
    `${paint('dim', time)} ${paint(COLOURS[level], level.padEnd(5))} ${message}`,
    ...(details.length === 0 ? [] : [paint('dim', details.join(' '))]),
  ].join('  ');
}

interface Entry {
  readonly ts: string;
  readonly level: LogLevel;
  readonly message: string;
  readonly [field: string]: unknown;
}

function parse(line: string): Entry | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isEntry(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isEntry(value: unknown): value is Entry {
  return (
    typeof value === 'object' &&
    value !== null &&
    'ts' in value &&
    typeof value.ts === 'string' &&
    !Number.isNaN(Date.parse(value.ts)) &&
    'message' in value &&
    typeof value.message === 'string' &&
    'level' in value &&
    LOG_LEVELS.some((level) => level === value.level)
  );
}

/** Text with spaces or quotes keeps its quotes, so that one sees where it ends. */
function readableValue(value: unknown): string {
  return typeof value === 'string' && /^[^\s"]+$/.test(value) ? value : JSON.stringify(value);
}
