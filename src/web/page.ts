import { basename, join } from 'node:path';
import { Elysia } from 'elysia';
import { AppError } from '../errors.ts';

/** Everything comes from this origin; markup from elsewhere can neither run, nor frame the page, nor post its forms. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  "form-action 'none'",
].join('; ');

const COMMON_HEADERS = { 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' };
const DOCUMENT_HEADERS = {
  ...COMMON_HEADERS,
  'cache-control': 'no-cache',
  'content-security-policy': CONTENT_SECURITY_POLICY,
};
// An asset's path carries the hash of the page's content, so what is behind it never changes.
const ASSET_HEADERS = { ...COMMON_HEADERS, 'cache-control': 'public, max-age=31536000, immutable' };

const ASSETS = '/assets/';

/** The bundled page, held in memory. */
export interface Page {
  /**
   * @param path the path of a request, such as `/` or `/assets/<hash>/index.js`
   * @returns a new response, or `undefined` when the page has nothing there
   */
  respond(path: string): Response | undefined;
}

/**
 * Bundles the page's modules for browsers. Its assets are named by their content alone: every node, started from whatever
 * working directory, serves the same names, so a load balancer may send each request elsewhere.
 * @throws {AggregateError} naming every module that does not build
 */
export async function buildPage(): Promise<Page> {
  // The hash in Bun's own asset names depends on the working directory; so the contents are hashed here, in a first
  // build, and the second one refers to them under that name.
  const version = await contentHash(await bundle(ASSETS));
  const assets = `${ASSETS}${version}/`;
  const files = new Map<string, { body: Uint8Array<ArrayBuffer>; headers: Record<string, string> }>();
  for (const output of await bundle(assets)) {
    const isDocument = output.path.endsWith('.html');
    files.set(isDocument ? '/' : assets + basename(output.path), {
      body: new Uint8Array(await output.arrayBuffer()),
      headers: { ...(isDocument ? DOCUMENT_HEADERS : ASSET_HEADERS), 'content-type': output.type },
    });
  }
  return {
    respond(path) {
      const file = files.get(path);
      return file && new Response(file.body, { headers: file.headers });
    },
  };
}

async function bundle(publicPath: string): Promise<Bun.BuildArtifact[]> {
  const folder = join(import.meta.dir, 'app');
  const { outputs } = await Bun.build({
    entrypoints: [join(folder, 'index.html')],
    root: folder,
    target: 'browser',
    minify: true,
    publicPath,
    naming: { entry: '[name].[ext]', chunk: '[name].[ext]', asset: '[name].[ext]' },
  });
  return outputs;
}

async function contentHash(outputs: readonly Bun.BuildArtifact[]): Promise<string> {
  const hasher = new Bun.CryptoHasher('sha256');
  for (const output of outputs) hasher.update(await output.arrayBuffer());
  return hasher.digest('hex').slice(0, 16);
}

/**
 * Serves the page at `/` and its parts below `/assets/`; builds it once, before it resolves.
 * @throws {AggregateError} as {@link buildPage} does
 */
export async function pageRoutes() {
  const page = await buildPage();
  const respond = ({ path }: { path: string }): Response => {
    const response = page.respond(path);
    if (response === undefined) throw new AppError('not_found', 'Not Found');
    return response;
  };
  return new Elysia({ name: 'page' }).get('/', respond).get(`${ASSETS}*`, respond);
}
