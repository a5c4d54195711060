import { afterAll, afterEach, describe, expect, test } from 'bun:test';
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { gzipSync } from 'node:zlib';
import { PostError, Poster } from '../../src/webhook/post.ts';
import type { Target } from '../../src/webhook/target.ts';
import { selfSigned } from './certificate.ts';

const BODY = Buffer.from('{"a":1}');
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

const certificate = await selfSigned('hook.example');
afterAll(() => certificate.remove());

/** A host of any name whose addresses are these. */
function target(url: string, addresses: readonly string[] = ['127.0.0.1']): Target {
  const parsed = new URL(url);
  return { url: parsed, host: parsed.hostname, addresses };
}

function poster(options: ConstructorParameters<typeof Poster>[0] = {}): Poster {
  const made = new Poster(options);
  cleanups.push(() => made.stop());
  return made;
}

function receiver(fetch: (request: Request) => Response | Promise<Response>, tls?: { key: string; cert: string }) {
  const server = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch, ...(tls === undefined ? {} : { tls }) });
  cleanups.push(() => server.stop(true));
  return server;
}

/** A server that does with a connection what the test says. */
async function rawReceiver(onConnection: (socket: Socket) => void): Promise<number> {
  return listen(
    createServer((socket) => {
      socket.on('error', () => {});
      onConnection(socket);
    }),
  );
}

/** @returns its port */
async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket));
  const listening = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', () => listening.resolve());
  await listening.promise;
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not listening');
  return address.port;
}

describe('a webhook request', () => {
  test('goes to the checked address with the name of the host, whatever the name resolves to', async () => {
    const server = receiver(async (request) => {
      return Response.json({ host: request.headers.get('host'), url: request.url, body: await request.text() });
    });
    const answer = await poster().post(target(`http://no-such-name.invalid:${server.port}/in?x=1`), {}, BODY);
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.excerpt)).toEqual({
      host: `no-such-name.invalid:${server.port}`,
      url: `http://no-such-name.invalid:${server.port}/in?x=1`,
      body: '{"a":1}',
    });
  });

  test("proves the host's name by its certificate, not the address", async () => {
    const server = receiver(() => new Response('ok'), certificate);
    const trusting = poster({ ca: certificate.cert });
    expect((await trusting.post(target(`https://hook.example:${server.port}/`), {}, BODY)).status).toBe(200);
    await expect(trusting.post(target(`https://other.example:${server.port}/`), {}, BODY)).rejects.toThrow('ALTNAME');
    await expect(poster().post(target(`https://hook.example:${server.port}/`), {}, BODY)).rejects.toBeInstanceOf(
      PostError,
    );
  });

  test('names the host to TLS and in Host, wherever it connects', async () => {
    const seen: unknown[] = [];
    const server = createTlsServer(certificate, (socket) => {
      socket.on('error', () => {});
      socket.once('data', (data) => {
        const head = String(data).split('\r\n');
        seen.push([socket.servername, ...head.filter((line) => /^(post|host:)/i.test(line))]);
        socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
      });
    });
    const port = await listen(server);
    const trusting = poster({ ca: certificate.cert });
    for (const host of ['hook.example', 'hook.example.']) {
      await trusting.post(target(`https://${host}:${port}/in?x=1`), {}, BODY);
    }
    expect(seen).toEqual([
      ['hook.example', 'POST /in?x=1 HTTP/1.1', `host: hook.example:${port}`],
      // RFC 6066 §3: TLS names it without the last dot.
      ['hook.example', 'POST /in?x=1 HTTP/1.1', `host: hook.example.:${port}`],
    ]);
  });

  test('to an address over TLS proves the address, for which there is no name to tell', async () => {
    const own = await selfSigned('127.0.0.1');
    cleanups.push(() => own.remove());
    const server = receiver(() => new Response('ok'), own);
    const other = receiver(() => new Response('ok'), certificate);
    const trusting = poster({ ca: own.cert + certificate.cert });
    expect((await trusting.post(target(`https://127.0.0.1:${server.port}/`), {}, BODY)).status).toBe(200);
    const refusal = trusting.post(target(`https://127.0.0.1:${other.port}/`), {}, BODY);
    await expect(refusal).rejects.toThrow('ALTNAME');
  });

  test('does not follow a redirect', async () => {
    const visited: string[] = [];
    const server = receiver((request) => {
      visited.push(new URL(request.url).pathname);
      return new Response(null, { status: 307, headers: { location: '/elsewhere' } });
    });
    expect((await poster().post(target(`http://hook.example:${server.port}/`), {}, BODY)).status).toBe(307);
    expect(visited).toEqual(['/']);
  });

  test('goes past a proxy of the environment, which would resolve the name again', async () => {
    const asked: string[] = [];
    const proxy = receiver((request) => {
      asked.push(request.url);
      return new Response('proxied');
    });
    const server = receiver(() => new Response('direct'));
    process.env.HTTP_PROXY = `http://127.0.0.1:${proxy.port}`;
    cleanups.push(() => {
      delete process.env.HTTP_PROXY;
    });
    const answer = await poster().post(target(`http://hook.example:${server.port}/`), {}, BODY);
    expect([answer.excerpt, asked]).toEqual(['direct', []]);
  });

  test('uses one connection for many requests to one receiver', async () => {
    const ports = new Set<number>();
    const server = Bun.serve({
      hostname: '127.0.0.1',
      port: 0,
      fetch(request, { requestIP }) {
        ports.add(requestIP.call(server, request)?.port ?? 0);
        return new Response('ok');
      },
    });
    cleanups.push(() => server.stop(true));
    const one = poster();
    for (let count = 0; count < 5; count += 1) await one.post(target(`http://hook.example:${server.port}/`), {}, BODY);
    expect(ports.size).toBe(1);
  });

  test('tries the next address where the first accepts no connection', async () => {
    const server = receiver(() => new Response('ok'));
    const twice = target(`http://hook.example:${server.port}/`, ['127.0.0.77', '127.0.0.1']);
    expect((await poster().post(twice, {}, BODY)).status).toBe(200);
  });

  test('is not sent twice when the connection breaks after it was sent', async () => {
    let connections = 0;
    const port = await rawReceiver((socket) => {
      connections += 1;
      socket.once('data', () => socket.resetAndDestroy());
    });
    const twice = target(`http://hook.example:${port}/`, ['127.0.0.1', '127.0.0.1']);
    await expect(poster().post(twice, {}, BODY)).rejects.toBeInstanceOf(PostError);
    expect(connections).toBe(1);
  });
});

describe('a receiver that misbehaves is given up', () => {
  test.each([
    ['sends headers without end', 'HTTP/1.1 200 OK\r\n', `x: ${'y'.repeat(8000)}\r\n`, 'HEADER_OVERFLOW'],
    ['sends one header without end', 'HTTP/1.1 200 OK\r\nx: ', 'y'.repeat(8000), 'HEADER_OVERFLOW'],
    ['says for ever that it goes on', '', 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(100), 'no whole answer within 300 ms'],
  ])('when it %s', async (_, begin, more, says) => {
    const port = await rawReceiver((socket) => {
      socket.write(begin);
      const flood = setInterval(() => socket.write(more), 1);
      socket.on('close', () => clearInterval(flood));
    });
    const hasty = poster({ totalMs: 300 });
    await expect(hasty.post(target(`http://hook.example:${port}/`), {}, BODY)).rejects.toThrow(says);
  });

  test("when it answers twice: the second answer is nobody else's", async () => {
    const answer = (status: string) => `HTTP/1.1 ${status}\r\ncontent-length: 0\r\n\r\n`;
    const port = await rawReceiver((socket) => {
      socket.once('data', () => socket.write(answer('200 OK') + answer('410 Gone')));
    });
    const one = poster();
    for (let turn = 0; turn < 3; turn += 1) {
      expect((await one.post(target(`http://hook.example:${port}/`), {}, BODY)).status).toBe(200);
    }
  });

  test('but a packed answer is kept as it is: it cannot be blown up', async () => {
    const packed = gzipSync(Buffer.alloc(50_000_000));
    const port = await rawReceiver((socket) => {
      const head = `HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: ${packed.length}\r\n\r\n`;
      socket.once('data', () => socket.write(Buffer.concat([Buffer.from(head), packed])));
    });
    const answer = await poster().post(target(`http://hook.example:${port}/`), {}, BODY);
    expect(answer.excerpt.length).toBeLessThanOrEqual(4096);
  });

  test('and its answer counts though it did not wait for the whole body', async () => {
    const port = await rawReceiver((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'));
    });
    const answer = await poster().post(target(`http://hook.example:${port}/`), {}, Buffer.alloc(1_000_000));
    expect(answer.status).toBe(413);
  });

  test('when it refuses the connection', async () => {
    const port = await rawReceiver(() => {});
    await cleanups.pop()?.();
    await expect(poster().post(target(`http://hook.example:${port}/`), {}, BODY)).rejects.toThrow('ECONNREFUSED');
  });

  test('when it accepts and says nothing', async () => {
    const port = await rawReceiver(() => {});
    const hasty = poster({ totalMs: 100 });
    await expect(hasty.post(target(`http://hook.example:${port}/`), {}, BODY)).rejects.toThrow(
      'no whole answer within 100 ms',
    );
  });

  test('when TLS never comes to stand', async () => {
    const port = await rawReceiver(() => {});
    const hasty = poster({ connectMs: 100 });
    await expect(hasty.post(target(`https://hook.example:${port}/`), {}, BODY)).rejects.toThrow(
      'no connection to 127.0.0.1 within 100 ms',
    );
  });

  test('when it drips its answer for ever', async () => {
    const port = await rawReceiver((socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n');
      const dripping = setInterval(() => socket.write('x'), 10);
      socket.on('close', () => clearInterval(dripping));
    });
    const hasty = poster({ totalMs: 200 });
    await expect(hasty.post(target(`http://hook.example:${port}/`), {}, BODY)).rejects.toThrow(
      'no whole answer within 200 ms',
    );
  });

  test('when it promises more than it sends', async () => {
    const port = await rawReceiver((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nshort'));
    });
    await expect(poster().post(target(`http://hook.example:${port}/`), {}, BODY)).rejects.toBeInstanceOf(PostError);
  });

  test('when it speaks another protocol', async () => {
    const port = await rawReceiver((socket) => socket.end('220 mail.example ESMTP\r\n'));
    await expect(poster().post(target(`http://hook.example:${port}/`), {}, BODY)).rejects.toBeInstanceOf(PostError);
  });

  test('but an answer without end counts once enough of it was read', async () => {
    let closed = Promise.withResolvers<void>();
    const port = await rawReceiver((socket) => {
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
      const flood = setInterval(() => socket.write(`400\r\n${'x'.repeat(1024)}\r\n`), 1);
      socket.on('close', () => {
        clearInterval(flood);
        closed.resolve();
      });
    });
    const answer = await poster({ answerBytes: 4096 }).post(target(`http://hook.example:${port}/`), {}, BODY);
    expect([answer.status, answer.excerpt.length]).toEqual([200, 4096]);
    await closed.promise;
    closed = Promise.withResolvers();
  });
});
