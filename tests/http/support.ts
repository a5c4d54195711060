import { Elysia, t } from 'elysia';
import { errorHandling } from '../../src/http/errors.ts';
import { requestRules } from '../../src/http/request-rules.ts';
import { createLog } from '../../src/telemetry/log.ts';

export const ORIGIN = 'https://soc.example.net';
export const STRANGER = 'https://evil.example.org';

/** Rules and error table as the composition root puts them around routes; `throws` is what `GET /throws` throws. */
export function createShell({ developer = false, throws }: { developer?: boolean; throws?: () => unknown } = {}) {
  const lines: string[] = [];
  const log = createLog('debug', (line) => lines.push(line));
  const methodsOf = (path: string) => (path === '/known' ? ['GET', 'POST'] : []);
  const body = t.Object({
    name: t.String({ minLength: 2, maxLength: 5 }),
    kind: t.Optional(t.Union([t.Literal('a'), t.Literal('b')])),
    size: t.Optional(t.Integer({ minimum: 1 })),
  });
  const app = new Elysia({ serve: { reusePort: false, development: false } })
    .use(requestRules([ORIGIN]))
    .use(errorHandling(log, { developer, methodsOf }))
    .get('/known', () => ({ ok: true }))
    .get('/response', () => new Response('made by hand', { headers: { 'x-own': 'kept' } }))
    .post('/known', ({ body: { name } }) => ({ name }), { body })
    .get('/throws', () => {
      throw throws?.();
    });
  return { app, lines };
}

/** The same on a socket: content lengths are the client's. */
export function listen(shell = createShell()) {
  shell.app.listen({ hostname: '127.0.0.1', port: 0 });
  return {
    url: `http://127.0.0.1:${shell.app.server?.port}`,
    lines: shell.lines,
    stop: () => shell.app.server?.stop(true),
  };
}
