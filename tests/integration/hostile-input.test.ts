import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';

/** In a path: NUL, bytes that are no UTF-8, half of a surrogate pair, a broken escape, what is long, what is rare. */
const PATHS = ['a%00b', '%ff%fe', '%ed%a0%80', '%zz', 'x'.repeat(4000), '%f0%9f%92%a5'];

/** In JSON: NUL, half of a surrogate pair, a long string; numbers beyond a double's integers and beyond 64 bits. */
const VALUES = ['"a\\u0000b"', '"a\\ud800b"', `"${'x'.repeat(1_000_000)}"`, '1e308', '18446744073709551616'];

const nested = (open: string, close: string) => `${open.repeat(39_998)}1${close.repeat(39_998)}`;
const DEEP = [nested('[', ']'), nested('{"a":', '}')];

const ID = '00000000-0000-4000-8000-000000000000';

/** Requests that go without a token in the header. */
const ANONYMOUS = /^\/auth\/login|[?&](?:ticket|token)=/;

/** Every route with something of the client's in its path; `*` stands for that. */
const WITH_PATHS = [
  ['DELETE', '/config/users/*'],
  ['GET', '/topologies/*'],
  ['GET', '/topologies/*/status-events'],
  ['GET', '/topologies/*/mutations'],
  ['POST', '/topologies/*/deploy'],
  ['DELETE', '/topologies/*'],
  ['DELETE', `/topologies/*/lans/*`],
  ['DELETE', `/topologies/*/deckies/*`],
  ['DELETE', `/topologies/*/edges/*`],
  ['GET', `/topologies/*/lans/*/next-ip`],
  ['DELETE', `/topologies/*/deckies/*/services/*`],
  ['GET', '/topologies/services/*/schema'],
  ['GET', '/identities/*'],
  ['GET', '/identities/*/observations'],
  ['POST', '/deckies/*/mutate'],
  ['DELETE', '/deckies/*'],
  ['DELETE', '/deckies/d1/services/*'],
  ['GET', '/deckies/*/tarpit'],
  ['GET', '/topologies/*/deckies/*/tarpit'],
  ['GET', '/topologies/*/personas'],
  ['POST', '/workers/*/stop'],
  ['POST', '/workers/*/start'],
  ['GET', '/transcripts/*/*'],
  ['GET', '/bounty?limit=*'],
  ['GET', '/topologies/?status=*'],
  ['GET', '/topologies/?limit=*'],
  ['GET', '/topologies/next-subnet?base=*'],
  ['GET', '/deckies/lifecycle?ids=*'],
  ['GET', '/topologies/*/events?once=1'],
  ['GET', '/events?pattern=*&once=1'],
  ['GET', '/events?ticket=*'],
  ['GET', '/events?token=*'],
  ['GET', '/identities?limit=*'],
] as const;

/** Every route with a body; `*` stands for JSON of the client's. */
const WITH_BODIES = [
  ['POST', '/auth/login', '{"username":*,"password":"x"}'],
  ['POST', '/auth/login', '{"username":"x","password":*}'],
  ['POST', '/auth/change-password', '{"old_password":*,"new_password":"a-new-password"}'],
  ['POST', '/config/users', '{"username":*,"password":"a-new-password","role":"viewer"}'],
  ['POST', '/config/users', '{"username":"a","password":*,"role":"viewer"}'],
  ['PUT', `/config/users/${ID}/role`, '{"role":*}'],
  ['POST', '/events', '{"topic":*,"payload":{}}'],
  ['POST', '/events', '{"topic":"a.b","payload":*}'],
  ['POST', '/events', '{"topic":"a.b","payload":{},"id":*}'],
  ['POST', '/topologies/blank', '{"name":*}'],
  ['POST', '/topologies/', '{"name":*,"depth":1}'],
  ['POST', '/topologies/', '{"name":"n","depth":*,"seed":*}'],
  ['POST', `/topologies/${ID}/mutations`, '{"op":*}'],
  ['POST', `/topologies/${ID}/mutations`, '{"op":"add_lan","payload":{"name":*},"expected_version":*}'],
  ['POST', `/topologies/${ID}/lans`, '{"name":*,"x":*}'],
  ['POST', `/topologies/${ID}/deckies`, '{"name":*,"services":[*]}'],
  ['PUT', '/deckies/d1/mutate-interval', '{"mutate_interval":*}'],
  ['POST', '/deckies/d1/services', '{"name":*}'],
  ['POST', '/deckies/d1/services', '{"name":"http","config":{"custom_body":*}}'],
  ['POST', '/deckies/d1/tarpit', '{"ports":[22],"delay_ms":*}'],
  ['POST', '/deckies/deploy', '{"ini_content":*}'],
  ['PUT', `/topologies/${ID}/personas`, '{"personas":[*]}'],
  ['PUT', '/config/deployment-limit', '{"deployment_limit":*}'],
  ['PUT', '/config/global-mutation-interval', '{"global_mutation_interval":*}'],
  ['POST', '/streams/cut', '{"connection":*}'],
] as const;

for (const engine of ENGINES) {
  describe(engine, () => {
    let plane: Plane;
    let node: App;
    let token: string;
    const lines: unknown[] = [];
    /** What is logged of a request names its path. */
    const note = (line: string) => line.includes('"path"') && lines.push(JSON.parse(line));
    beforeAll(async () => {
      plane = await createPlane(engine);
      node = await plane.node({ log: createLog('warn', note) });
      token = await plane.token(node.url, 'admin');
    });
    afterAll(() => plane.stop());

    /** Sends it and expects that nobody takes it for a fault of the server. */
    async function send(method: string, path: string, body?: string): Promise<{ status: number; body: string }> {
      lines.length = 0;
      const response = await fetch(`${node.url}/api/v1${path}`, {
        method,
        headers: {
          ...(ANONYMOUS.test(path) ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body }),
      });
      const answer = { status: response.status, body: await response.text() };
      const isServersFault = answer.status >= 500;
      expect({ ...answer, isServersFault, logged: lines }).toEqual({ ...answer, isServersFault: false, logged: [] });
      if (answer.status >= 400) expect(JSON.parse(answer.body)).toEqual({ detail: expect.any(String) });
      return answer;
    }

    for (const [method, path] of WITH_PATHS) {
      test(`${method} ${path}`, async () => {
        for (const hostile of PATHS) await send(method, path.replaceAll('*', hostile));
      });
    }
    for (const [method, path, body] of WITH_BODIES) {
      test(`${method} ${path} ${body}`, async () => {
        for (const hostile of VALUES)
          await send(
            method,
            path,
            body.replaceAll('*', () => hostile),
          );
        for (const hostile of DEEP) {
          const answer = await send(
            method,
            path,
            body.replaceAll('*', () => hostile),
          );
          expect(answer.status).toBe(422);
          expect(answer.body).toContain('may nest at most 72 levels');
        }
      });
    }
  });
}
