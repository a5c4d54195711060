import { writeFileSync } from 'node:fs';
import type { Log } from '../telemetry/log.ts';
import { pidFile } from './redis-orphan.ts';
import { pingRedis } from './redis-ping.ts';

/** It may say nothing for so long while it starts. */
const SILENT_START_MS = 30_000;
/** A long append-only file takes so long to load at most. */
const LOAD_LIMIT_MS = 600_000;
/** It may take so long to save and end; main gives each part 15 s. */
const END_LIMIT_MS = 10_000;
const KILL_LIMIT_MS = 3000;
/** What is kept of its output, to say why it ended, and how much of it goes to the log in all. */
const KEPT_LINES = 5;
const MAX_LINE = 300;
const REPORTED_LINES = 20;

/** Its stamp: `4711:M 21 Nov 2026 14:20:22.031 # `. A crash report has none and may hold data: it is not kept. */
const STAMP = /^\d+:\w \d+ \w+ \d+ [\d:.]+ \W /;
/** What it says at each start, and of kernel settings that matter to larger ones. */
const GREETING = /^(oO0|Redis version=|Configuration loaded|Server initialized|WARNING Memory overcommit)/;

// Waits for a line before it becomes redis-server: a parent that dies before it has recorded the process id closes the
// pipe instead, and no server runs that nobody knows of.
const GATE = 'read -r go && exec "$@" </dev/null';

/** One redis-server process on a folder, recorded there for as long as it runs. */
export class RedisChild {
  readonly #process: Bun.Subprocess<'pipe', 'pipe', 'pipe'>;
  readonly #socket: string;
  readonly #logger: Log;
  readonly #lines: string[] = [];
  readonly #output: Promise<unknown>;
  #reported = 0;
  #isEnding = false;

  /** @param command path of redis-server */
  constructor(command: string, folder: string, socket: string, logger: Log) {
    this.#socket = socket;
    this.#logger = logger;
    this.#process = Bun.spawn(['/bin/sh', '-c', GATE, 'gate', command, ...redisArguments(socket, folder)], {
      // A group of its own: Ctrl-C in the terminal would otherwise stop it before the server has drained.
      detached: true,
      cwd: folder, // It is known by this when it is left behind.
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'pipe',
    });
    try {
      writeFileSync(pidFile(folder), `${this.pid}\n`, { mode: 0o600 });
      this.#process.stdin.write('go\n');
    } finally {
      void this.#process.stdin.end();
    }
    this.#output = Promise.all([
      eachLine(this.#process.stdout, (line) => STAMP.test(line) && this.#heard(line.replace(STAMP, ''))),
      eachLine(this.#process.stderr, (line) => this.#heard(line)),
    ]);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Ends when it has ended. @returns why, in its own last words */
  async ended(): Promise<string> {
    await this.#process.exited;
    // Its last lines may still be in the pipe, which a child of its own may hold open.
    await Promise.race([this.#output, Bun.sleep(100)]);
    const how = this.#process.signalCode ?? `exit code ${this.#process.exitCode}`;
    return [how, ...this.#lines].join(' | ');
  }

  /** @throws when it ends or stays silent instead of becoming ready; it has ended then */
  async ready(): Promise<void> {
    const start = performance.now();
    let heard = start;
    let isLoading = false;
    for (let state = await this.#ask(); state !== 'ready'; state = await this.#ask()) {
      if (this.#hasEnded()) throw new Error(`redis-server ended at once (${await this.ended()}): ${UNUSABLE}`);
      const now = performance.now();
      if (state === 'loading') {
        heard = now;
        if (!isLoading) this.#logger.info('embedded redis loads its data', { pid: this.pid });
        isLoading = true;
      }
      if (now - heard > SILENT_START_MS || now - start > LOAD_LIMIT_MS) {
        await this.end(0); // Never two servers on one append-only file.
        throw new Error(`redis-server was not ready after ${Math.round(now - start)} ms: ${UNUSABLE}`);
      }
      await Bun.sleep(10);
    }
  }

  /**
   * Ends it: at once when it can, by force when it does not.
   * @param graceMs milliseconds to save and end by itself
   * @throws when even that does not end it
   */
  async end(graceMs = END_LIMIT_MS): Promise<void> {
    this.#isEnding = true;
    this.#process.kill('SIGTERM');
    if (await this.#endsWithin(graceMs)) return;
    this.#process.kill('SIGKILL');
    if (await this.#endsWithin(KILL_LIMIT_MS)) return;
    throw new Error(`redis-server ${this.pid} cannot be killed: its disk may hang`);
  }

  #ask() {
    return this.#hasEnded() ? 'absent' : pingRedis(this.#socket, SILENT_START_MS);
  }

  #hasEnded(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  async #endsWithin(limitMs: number): Promise<boolean> {
    const late = Promise.withResolvers<false>();
    const timer = setTimeout(late.resolve, limitMs, false);
    try {
      return await Promise.race([this.#process.exited.then(() => true), late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  #heard(text: string): void {
    if (GREETING.test(text)) return;
    this.#lines.push(text);
    if (this.#lines.length > KEPT_LINES) this.#lines.shift();
    this.#reported += 1;
    if (!this.#isEnding && this.#reported <= REPORTED_LINES)
      this.#logger.warn('embedded redis says', { pid: this.pid, text });
  }
}

const UNUSABLE = 'its data folder may be unusable';

function redisArguments(socket: string, folder: string): string[] {
  return [
    ...['--port', '0', '--unixsocket', socket, '--unixsocketperm', '700', '--dir', folder],
    // `always`: under `everysec` Redis answers before it has written while a sync is under way, and a crash then loses
    // events that were acknowledged and seen (redis.conf, appendfsync). Writes of one loop share a sync.
    ...['--appendonly', 'yes', '--appendfsync', 'always', '--save', '', '--maxmemory-policy', 'noeviction'],
    // Its command line is what it is known by where the system does not tell its working folder.
    ...['--set-proc-title', 'no', '--daemonize', 'no', '--loglevel', 'warning'],
  ];
}

async function eachLine(stream: ReadableStream<Uint8Array>, use: (line: string) => unknown): Promise<void> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = (lines.pop() ?? '').slice(0, MAX_LINE);
    for (const line of lines) use(line.slice(0, MAX_LINE));
  }
}
