/**
 * The background process: started by {@link Background}, never by hand. It does its roles without an HTTP server, at a lower
 * priority than whoever serves people, and ends with its parent, however that ends.
 */
import { constants, setPriority } from 'node:os';
import type { Config } from '../config.ts';
import { describeError } from '../errors.ts';
import { type App, start } from '../main.ts';
import type { Log, LogLevel } from '../telemetry/log.ts';
import type { FromBackground, ToBackground } from './messages.ts';

/** It may take so long to end when its parent is gone: less than another process waits for its leases. */
const ORPHAN_MS = 4000;

let running: Promise<App> | undefined;
let ending: Promise<never> | undefined;

function say(message: FromBackground): void {
  // With the parent gone there is nobody to tell.
  if (process.connected) process.send?.(message);
}

const line =
  (level: LogLevel): Log['info'] =>
  (message, fields = {}) =>
    say({ kind: 'log', level, message, fields });
const logger: Log = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') };

async function run(config: Config): Promise<void> {
  // Streams come first, also where they share a core with this process.
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  running = start(config, { log: logger, serve: false });
  await running;
  say({ kind: 'ready' });
}

function end(): Promise<never> {
  ending ??= (async () => {
    await (await running)?.stop();
    process.exit(0);
  })();
  return ending;
}

process.on('message', (message: ToBackground) => {
  if (message.kind === 'ping') say({ kind: 'pong' });
  if (message.kind === 'stop') end().catch(fail);
  if (message.kind === 'start') run(message.config).catch(fail);
});
// The parent is gone, killed perhaps: another node takes over at once what this one gives back.
process.on('disconnect', () => {
  setTimeout(() => process.exit(1), ORPHAN_MS);
  end().catch(fail);
});
// A service manager tells every process of a service to end; the parent starts another one if it was meant for this one alone.
process.on('SIGTERM', () => end().catch(fail));
// The terminal's Ctrl-C is for the parent.
process.on('SIGINT', () => {});

function fail(error: unknown): void {
  logger.error('the background process cannot go on', { error: describeError(error) });
  setImmediate(() => process.exit(1));
}
