import http from 'node:http';
import https from 'node:https';
import { isIP, type Socket } from 'node:net';
import type { Target } from './target.ts';

/** What a receiver answered. */
export interface Answer {
  readonly status: number;
  /** The beginning of the body, as text. */
  readonly excerpt: string;
  /** The header as it came. */
  readonly retryAfter: string | undefined;
}

export interface PostLimits {
  /** Milliseconds until the connection (with TLS) stands. */
  readonly connectMs: number;
  /** Milliseconds until the whole answer has been read, from the beginning. */
  readonly totalMs: number;
  /** Bytes of the answer's body that are read; the connection is then closed, and the answer counts. */
  readonly answerBytes: number;
}

/** No answer came: the connection failed, was cut, or took too long. The message is fit for the operator. */
export class PostError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'PostError';
  }
}

const LIMITS: PostLimits = { connectMs: 5000, totalMs: 10_000, answerBytes: 4096 };
/** An idle connection to a receiver is kept for so long; more than so many at once are not kept. */
const KEEP_ALIVE = { keepAlive: true, keepAliveMsecs: 5000, maxFreeSockets: 64 } as const;

/**
 * Sends webhooks. Connections are made to the addresses that were checked, with the name of the host in `Host` and in TLS, so that
 * a name which resolves otherwise a moment later changes nothing. Redirects are answers like others, never followed; proxies of the
 * environment are not used, since they would resolve the name again.
 */
export class Poster {
  readonly #limits: PostLimits;
  readonly #agents = { 'http:': new http.Agent(KEEP_ALIVE), 'https:': new https.Agent(KEEP_ALIVE) };
  readonly #ca: string | undefined;

  /** @param options.ca certificates to trust beside the system's, as PEM */
  constructor({ ca, ...limits }: Partial<PostLimits> & { readonly ca?: string } = {}) {
    this.#limits = { ...LIMITS, ...limits };
    this.#ca = ca;
  }

  /**
   * One attempt; the addresses are tried in turn until one accepts the connection.
   * @throws {PostError} when no whole answer came in time
   */
  async post(target: Target, headers: Readonly<Record<string, string>>, body: Uint8Array): Promise<Answer> {
    const deadline = performance.now() + this.#limits.totalMs;
    let refused = new PostError('the host has no address');
    for (const address of target.addresses) {
      try {
        return await this.#attempt(target, address, headers, body, deadline);
      } catch (error) {
        if (!(error instanceof Unconnected)) throw error;
        // Nothing was sent yet: another address may do.
        refused = new PostError(error.message);
        if (performance.now() >= deadline) break;
      }
    }
    throw refused;
  }

  /** Closes what is kept open. */
  stop(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  #attempt(
    { url, host }: Target,
    address: string,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array,
    deadline: number,
  ): Promise<Answer> {
    const { connectMs, totalMs, answerBytes } = this.#limits;
    const isTls = url.protocol === 'https:';
    const result = Promise.withResolvers<Answer>();
    let connected = false;
    const request = (isTls ? https : http).request({
      method: 'POST',
      host: address,
      port: url.port === '' ? undefined : Number(url.port),
      path: `${url.pathname}${url.search}`,
      agent: this.#agents[isTls ? 'https:' : 'http:'],
      headers: { ...headers, host: url.host, 'content-length': String(body.byteLength) },
      ...(isTls ? { ...serverNameOf(host), ...(this.#ca === undefined ? {} : { ca: this.#ca }) } : {}),
    });
    const fail = (message: string) => {
      const ErrorType = connected ? PostError : Unconnected;
      result.reject(new ErrorType(message));
      request.destroy();
    };
    const left = Math.max(0, deadline - performance.now());
    const total = setTimeout(() => fail(`no whole answer within ${totalMs} ms`), left);
    const connecting = setTimeout(() => fail(`no connection to ${address} within ${connectMs} ms`), connectMs);
    const onConnected = () => {
      connected = true;
      clearTimeout(connecting);
    };
    request.on('socket', (socket: Socket) => {
      if (!socket.connecting) onConnected();
      else socket.once(isTls ? 'secureConnect' : 'connect', onConnected);
    });
    request.on('error', (error: NodeJS.ErrnoException) => fail(`${error.code ?? error.name}: ${error.message}`));
    request.on('response', (response) => {
      const parts: Buffer[] = [];
      let bytes = 0;
      const answer = () => {
        const retryAfter = response.headers['retry-after'];
        const excerpt = Buffer.concat(parts).subarray(0, answerBytes).toString();
        result.resolve({ status: response.statusCode ?? 0, excerpt, retryAfter });
      };
      response.on('data', (part: Buffer) => {
        parts.push(part);
        bytes += part.byteLength;
        if (bytes < answerBytes) return;
        answer();
        request.destroy();
      });
      response.on('end', answer);
      response.on('error', (error) => fail(`the answer broke off: ${error.message}`));
      response.on('close', () => fail('the answer broke off'));
    });
    request.end(body);
    return result.promise.finally(() => {
      clearTimeout(total);
      clearTimeout(connecting);
    });
  }
}

/** RFC 6066 §3: a name without its last dot, and no address: the certificate is then checked for the address. */
function serverNameOf(host: string): { readonly servername?: string } {
  return isIP(host) === 0 ? { servername: host.replace(/\.$/, '') } : {};
}

/** Failed before anything was sent. */
class Unconnected extends Error {}
