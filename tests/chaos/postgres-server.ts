import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Glob } from 'bun';

/** A private PostgreSQL that may be restarted under everybody's feet. */
export interface PostgresServer {
  /** For `DATABASE_URL`. */
  readonly url: string;
  /** As a crash would: nobody's transaction is finished, every connection breaks. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * A cluster in a folder of its own, reachable only by its UNIX socket.
 * @throws when PostgreSQL's server programs are not installed
 */
export async function startPostgres(): Promise<PostgresServer> {
  const programs = await serverPrograms();
  const folder = await mkdtemp(join(tmpdir(), 'storm-postgres-'));
  const data = join(folder, 'data');
  // PostgreSQL refuses to run as root; Debian's package makes the user postgres.
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await chown(folder, ...(await idsOf('postgres')));
  const run = (program: string, ...args: readonly string[]) =>
    succeed([...(isRoot ? ['runuser', '-u', 'postgres', '--'] : []), join(programs, program), ...args], folder);
  const settings = ["listen_addresses=''", 'max_connections=200', 'fsync=off', 'full_page_writes=off'];
  const options = [`-k '${folder}' -p 5432`, ...settings.map((setting) => `-c ${setting}`)].join(' ');
  const start = () => run('pg_ctl', 'start', '-w', '-s', '-D', data, '-l', join(folder, 'server.log'), '-o', options);
  const end = () => run('pg_ctl', 'stop', '-s', '-D', data, '-m', 'immediate');
  try {
    await run('initdb', '-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync');
    await start();
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  let restarting: Promise<void> | undefined;
  return {
    url: `postgres://postgres@${encodeURIComponent(folder)}/postgres`,
    async restart() {
      restarting = end().then(start);
      await restarting;
    },
    async stop() {
      await restarting?.catch(() => undefined); // Else it would be started again.
      await end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Packages leave them off PATH. */
async function serverPrograms(): Promise<string> {
  const found = Bun.which('pg_ctl');
  if (found !== null) return join(found, '..');
  for (const pattern of ['usr/lib/postgresql/*/bin/pg_ctl', 'opt/homebrew/opt/postgresql@*/bin/pg_ctl']) {
    const [newest] = (await Array.fromAsync(new Glob(pattern).scan({ cwd: '/', followSymlinks: true })))
      .sort()
      .reverse();
    if (newest !== undefined) return join('/', newest, '..');
  }
  throw new Error('PostgreSQL is not installed: pg_ctl cannot be found');
}

async function idsOf(user: string): Promise<[uid: number, gid: number]> {
  const id = async (which: string) => Number(await new Response(Bun.spawn(['id', which, user]).stdout).text());
  return [await id('-u'), await id('-g')];
}

/** Its output goes to a file: a server that is started keeps the pipes of who started it, and they never end. */
async function succeed(command: readonly string[], folder: string): Promise<void> {
  const log = join(tmpdir(), `storm-postgres-${crypto.randomUUID()}.log`);
  await writeFile(log, '');
  try {
    const child = Bun.spawn([...command], {
      cwd: folder,
      stdin: 'ignore',
      stdout: Bun.file(log),
      stderr: Bun.file(log),
    });
    if ((await child.exited) !== 0) throw new Error(`${command.join(' ')} failed: ${await Bun.file(log).text()}`);
  } finally {
    await rm(log, { force: true });
  }
}
