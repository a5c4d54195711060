import { Elysia } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { Commits } from '../bus/commits.ts';
import type { Db } from '../db/database.ts';
import { deckyNameIn } from '../decky/decky-name.ts';
import type { Domain } from '../domain.ts';
import { AppError } from '../errors.ts';
import { BodyFields } from '../http/body-fields.ts';
import { findTarpit, removeTarpit, setTarpit, type TarpitKey, type TarpitRule, tarpitOnWire } from './tarpit.ts';

export interface TarpitStartParts {
  readonly db: Db;
  readonly authenticator: HeaderAuthenticator;
  readonly commits: Commits;
}

const OF_FLEET = '/deckies/:name/tarpit';
const OF_TOPOLOGY = '/topologies/:id/deckies/:decky/tarpit';
const TOPOLOGY_ID = /^[a-zA-Z0-9-]{1,64}$/;
const DELAY = { min: 100, max: 300_000 };
const MAX_PORT = 65_535;

/** Ports of deckies that keep callers waiting (contract P2.4, P3). */
export function startTarpit(parts: TarpitStartParts) {
  const ofFleet = ({ name = '' }: Params): TarpitKey => ({ topologyId: null, decky: deckyNameIn(name) });
  const ofTopology = ({ id = '', decky = '' }: Params): TarpitKey => {
    if (!TOPOLOGY_ID.test(id)) throw new AppError('invalid', 'the id of a topology is 1 to 64 letters, digits and -');
    return { topologyId: id, decky: deckyNameIn(decky) };
  };
  return {
    routes: new Elysia({ name: 'tarpits' })
      .use(tarpitRoutes(OF_FLEET, ofFleet, parts))
      .use(tarpitRoutes(OF_TOPOLOGY, ofTopology, parts)),
  } satisfies Domain;
}

type Params = Readonly<Record<string, string>>;

function tarpitRoutes(
  path: string,
  keyIn: (params: Params) => TarpitKey,
  { db, authenticator, commits }: TarpitStartParts,
) {
  const reads = new Elysia().use(guard(authenticator, 'viewer')).get(path, async ({ params }) => {
    const key = keyIn(params);
    return tarpitOnWire(key.decky, await findTarpit(db, key));
  });
  const writes = new Elysia()
    .use(guard(authenticator, 'admin'))
    .post(path, async ({ params, body, principal, set }) => {
      const rule = ruleIn(body);
      await setTarpit(db, keyIn(params), rule, principal.username);
      commits.onCommitted();
      set.status = 201;
      return { message: 'tarpit active' };
    })
    .delete(path, async ({ params }) => {
      if (await removeTarpit(db, keyIn(params))) commits.onCommitted();
      return { message: 'tarpit removed' };
    });
  return new Elysia().use(reads).use(writes);
}

function ruleIn(body: unknown): TarpitRule {
  const fields = new BodyFields(body);
  const ports = fields.integers('ports', { min: 1, max: MAX_PORT });
  const delayMs = fields.integer('delay_ms', DELAY);
  if (ports.length === 0 && fields.has('ports')) fields.refuse('ports must name one port at least');
  fields.check();
  return { ports: [...new Set(ports)], delayMs };
}
