/** `bun run dev`: everything with demonstration data, and somebody to sign in as. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Config, ConfigError, loadConfig } from '../src/config.ts';
import { engineOf, openDatabase } from '../src/db/database.ts';
import { migrate } from '../src/db/migrate.ts';
import { DEMO_ACCOUNTS, type DemoCredentials, ensureDemoUsers, resetDemoPasswords } from '../src/demo/users.ts';
import { start } from '../src/main.ts';
import { stopOnSignals } from '../src/signals.ts';
import { createLog, type Log, redact } from '../src/telemetry/log.ts';
import { readableLine } from './readable-log.ts';

const USAGE = `Usage: ./scripts/dev [options]   (or: bun run dev [options])

  --no-demo           start without demonstration data and traffic
  --reset-passwords   give the users admin and viewer new passwords and print them
  --help              show this

Settings come from the environment and from .env; see .env.example.`;

async function main(): Promise<void> {
  const options = readOptions();
  if (options.help === true) {
    console.log(USAGE);
    return;
  }
  const config = loadConfig(developmentEnvironment(process.env));
  const log = createLog(config.logLevel, (line) => console.log(readableLine(line, process.stdout.isTTY)));
  const credentials = await prepareUsers(config, log, options['reset-passwords'] === true);
  const starting = start(config, { demo: options.demo !== false, background: true, log });
  stopOnSignals(async () => (await starting).stop(), fail);
  const { url } = await starting;
  greet(url, credentials, config);
}

function readOptions() {
  return parseArgs({
    allowNegative: true,
    options: { demo: { type: 'boolean' }, 'reset-passwords': { type: 'boolean' }, help: { type: 'boolean' } },
  }).values;
}

/** What production demands and a developer should not have to think about. */
function developmentEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const isSet = (name: string) => (env[name] ?? '').trim() !== '';
  return {
    ...env,
    ...(isSet('DECNET_DEVELOPER') ? {} : { DECNET_DEVELOPER: 'true' }),
    ...(isSet('DECNET_JWT_SECRET') ? {} : { DECNET_JWT_SECRET: ownSecret(env.DECNET_DATA_DIR?.trim() || '.data') }),
  };
}

/** A signing key that stays the same over restarts, so that a developer stays signed in. */
function ownSecret(dataDir: string): string {
  const file = join(dataDir, 'dev-secret');
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  try {
    writeFileSync(file, `${Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex')}\n`, {
      mode: 0o600,
      flag: 'wx', // Fails when it is there: the key of an earlier start stays.
    });
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
  return readFileSync(file, 'utf8').trim();
}

/** @returns those whose passwords were made just now */
async function prepareUsers(config: Config, log: Log, reset: boolean): Promise<DemoCredentials[]> {
  // An administrator with a configured password is created by the start itself, as in production.
  const accounts = DEMO_ACCOUNTS.filter(
    ({ username }) => config.auth.adminPassword === undefined || username !== config.auth.adminUser,
  );
  const db = openDatabase(config.db.url, log);
  try {
    await migrate(db, engineOf(config.db.url));
    return await (reset ? resetDemoPasswords(db, accounts) : ensureDemoUsers(db, accounts));
  } finally {
    await db.destroy();
  }
}

function greet(url: string, credentials: readonly DemoCredentials[], config: Config): void {
  const lines = ['', `  decnet-live runs at ${url}`, ''];
  for (const { username, password } of credentials) lines.push(`  sign in as ${username.padEnd(6)}  ${password}`);
  if (credentials.length > 0) {
    lines.push('', '  These passwords are not shown again: note them down.');
  } else {
    lines.push('  The passwords were shown when the users were created. New ones: bun run dev --reset-passwords');
  }
  if (config.auth.adminPassword !== undefined) {
    lines.push(`  ${config.auth.adminUser} signs in with DECNET_ADMIN_PASSWORD or the password chosen since.`);
  }
  console.log([...lines, '  Ctrl-C stops it.', ''].join('\n'));
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function fail(error: unknown): never {
  if (hasCode(error, 'EADDRINUSE')) {
    console.error('The port is taken. Stop what listens there, or choose another: DECNET_API_PORT=8001 ./scripts/dev');
  } else if (error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS_')) {
    console.error(`${error.message}\n\n${USAGE}`);
  } else if (error instanceof ConfigError) {
    console.error(`Cannot start: ${error.message}`);
  } else {
    console.error(redact(Bun.inspect(error)));
  }
  process.exit(1);
}

await main().catch(fail);
