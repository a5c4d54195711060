import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import autocannon, { type Result } from 'autocannon';
import { Redis } from 'ioredis';
import { type Bench, median, waitFor } from './bench.ts';
import { sampleEvent } from './http-scenarios.ts';
import { isPinnable, pin } from './pinned.ts';
import type { Table } from './table.ts';

const CONNECTIONS = 16;
const RUNS = 3;

/**
 * What nginx with nchan and a Redis behind it takes of the same producers on this machine, for comparison: its Redis keeps a
 * short history and syncs nothing to disk. Debian has it as `libnginx-mod-nchan`; without it nothing is measured.
 */
export async function nchan({ topic, options }: Bench): Promise<Table> {
  const [nginx, server] = [Bun.which('nginx'), Bun.which('redis-server')];
  const module = nginx && resolve(dirname(nginx), '../lib/nginx/modules/ngx_nchan_module.so');
  if (nginx === null || module === null || server === null || !existsSync(module)) {
    return { title: 'nchan', rows: [{ 'not measured': 'nginx with its module nchan is not installed' }] };
  }
  const folder = await mkdtemp(join(tmpdir(), 'decnet-nchan-'));
  const running: Bun.Subprocess[] = [];
  const start = (...command: string[]) => {
    const child = Bun.spawn(command, { stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' });
    running.push(child);
    return child;
  };
  try {
    const [port, redisPort] = [freePort(), freePort()];
    start(server, '--port', `${redisPort}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder);
    await waitFor('a Redis for nchan', () => answers(redisPort));
    await writeFile(join(folder, 'nginx.conf'), configuration(module, folder, port, redisPort));
    const { pid } = start(nginx, '-p', folder, '-c', join(folder, 'nginx.conf'));
    if (isPinnable()) pin(pid, '0');
    const url = `http://127.0.0.1:${port}/publish`;
    const body = JSON.stringify(sampleEvent(topic));
    await waitFor('nginx', () =>
      fetch(url, { method: 'POST', body }).then(
        ({ ok }) => ok,
        () => false,
      ),
    );
    const runs: Result[] = [];
    for (let run = 0; run < RUNS; run += 1) {
      const duration = Math.max(1, Math.round(options.seconds / RUNS));
      runs.push(await autocannon({ url, method: 'POST', body, connections: CONNECTIONS, duration }));
    }
    const middle = (value: (run: (typeof runs)[number]) => number) => median(runs.map(value)) ?? 0;
    const row = {
      request: 'POST to nchan with Redis',
      connections: CONNECTIONS,
      'a second': middle(({ requests, duration }) => requests.total / duration),
      'p50 ms': middle(({ latency }) => latency.p50),
      'p99 ms': middle(({ latency }) => latency.p99),
      failed: runs.reduce((sum, { errors, non2xx }) => sum + errors + non2xx, 0),
    };
    return { title: 'nchan, for comparison', rows: [row] };
  } finally {
    for (const child of running.reverse()) {
      child.kill();
      await child.exited;
    }
    await rm(folder, { recursive: true, force: true });
  }
}

/** One process, without a master: it is stopped by itself. */
function configuration(module: string, folder: string, port: number, redisPort: number): string {
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder}/${name};`)
    .join('\n  ');
  return `load_module ${module};
daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log crit;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 100000000;
  ${places}
  upstream store { nchan_redis_server redis://127.0.0.1:${redisPort}; }
  server {
    listen 127.0.0.1:${port};
    location = /publish {
      nchan_publisher;
      nchan_channel_id load;
      nchan_redis_pass store;
    }
  }
}
`;
}

async function answers(port: number): Promise<boolean> {
  const redis = new Redis({ host: '127.0.0.1', port, lazyConnect: true, retryStrategy: () => null });
  redis.on('error', () => {}); // Not yet.
  try {
    await redis.connect();
    return (await redis.ping()) === 'PONG';
  } catch {
    return false;
  } finally {
    redis.disconnect();
  }
}

/** One that was free a moment ago. */
function freePort(): number {
  const probe = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data: () => {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}
