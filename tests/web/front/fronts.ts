import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../../support/until.ts';

/** What a browser is pointed at: it gives the page and, but for another origin, passes `/api/` on. */
export interface Front {
  readonly url: string;
  stop(): Promise<void>;
}

const PAGE = join(import.meta.dir, 'page.html');
const DOCS = join(import.meta.dir, '../../../docs/decnet.md');
const SAME_ORIGIN = '/api/v1';

/** The page, built for this base address of the API. */
async function pageFor(api: string): Promise<string> {
  return (await Bun.file(PAGE).text()).replace('%API%', api);
}

/** Files and nothing else: the API is at another origin. It can be started before the API is, which has to know its origin. */
export function startFiles(): Front & { apiIs(url: string): Promise<void> } {
  let page = '';
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch: () => new Response(page, { headers: { 'content-type': 'text/html' } }),
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    async apiIs(url) {
      page = await pageFor(`${url}/api/v1`);
    },
    stop: () => server.stop(true),
  };
}

/** A reverse proxy in a few lines: says whom it serves, passes on as it comes, and lets go when the browser does. */
export async function startProxy(api: string): Promise<Front> {
  const page = await pageFor(SAME_ORIGIN);
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch(request, server) {
      const { pathname, search } = new URL(request.url);
      if (!pathname.startsWith('/api/')) return new Response(page, { headers: { 'content-type': 'text/html' } });
      server.timeout(request, 0);
      const headers = new Headers(request.headers);
      headers.append('x-forwarded-for', server.requestIP(request)?.address ?? '');
      const { method, body, signal } = request;
      return fetch(`${api}${pathname}${search}`, { method, headers, body, signal, redirect: 'manual' });
    },
  });
  return { url: `http://127.0.0.1:${server.port}`, stop: () => server.stop(true) };
}

/** nginx with what the documentation tells to write into its configuration. */
export async function startNginx(nginx: string, api: string): Promise<Front> {
  const folder = await mkdtemp(join(tmpdir(), 'decnet-nginx-'));
  await Bun.write(join(folder, 'dist/index.html'), await pageFor(SAME_ORIGIN));
  const port = freePort();
  const [, documented = ''] = /```nginx\n([\s\S]*?)```/.exec(await Bun.file(DOCS).text()) ?? [];
  const server = documented
    .replace('listen 8080;', `listen 127.0.0.1:${port};`)
    .replace('/srv/decnet_web/dist', join(folder, 'dist'))
    .replace('http://127.0.0.1:8000', api);
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((at) => `${at}_temp_path ${folder}/${at};`);
  const file = join(folder, 'nginx.conf');
  // One process, without a master: it is stopped by itself. Workers of another user could not read the folder.
  await Bun.write(
    file,
    `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log; events {}
    http { access_log off; default_type text/html; ${places.join(' ')} ${server} }`,
  );
  const child = Bun.spawn([nginx, '-p', folder, '-e', `${folder}/error.log`, '-c', file], { stderr: 'pipe' });
  const url = `http://127.0.0.1:${port}`;
  await until('nginx', async () => {
    if (child.exitCode !== null) throw new Error(`nginx ended: ${await new Response(child.stderr).text()}`);
    return fetch(url).then(
      ({ ok }) => ok,
      () => false,
    );
  });
  return {
    url,
    async stop() {
      child.kill();
      await child.exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The web server that comes with DECNET, as far as one behind it can tell. */
export async function startDecnetProxy(api: string): Promise<Front> {
  const folder = await mkdtemp(join(tmpdir(), 'decnet-front-'));
  const page = join(folder, 'index.html');
  await Bun.write(page, await pageFor(SAME_ORIGIN));
  const { hostname, port } = new URL(api);
  const script = join(import.meta.dir, 'decnet-proxy.py');
  const child = Bun.spawn(['python3', script, page, hostname, port], { stdout: 'pipe', stderr: 'inherit' });
  const { value } = await child.stdout.getReader().read();
  return {
    url: `http://127.0.0.1:${Number(new TextDecoder().decode(value))}`,
    async stop() {
      child.kill();
      await child.exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function freePort(): number {
  const server = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: () => new Response() });
  const { port = 0 } = server;
  server.stop(true);
  return port;
}
