import { isJsonObject, type JsonObject } from '../../src/bus/event.ts';
import type { Db } from '../../src/db/database.ts';
import type { FleetDeckyRow } from '../../src/db/schema.ts';
import { recordSubstrate } from '../../src/substrate/record.ts';
import type { Substrate, SubstrateDecky } from '../../src/substrate/substrate.ts';
import { asAdmin } from '../topology/support.ts';

export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
export const NOON = Date.parse('2026-11-21T12:00:00.000Z');

/** A substrate that remembers what it was asked for, and can be told to wait or fail. */
export interface SpySubstrate extends Substrate {
  /** Such as `ensure web http,ssh` or `remove web`. */
  readonly calls: string[];
  readonly running: Map<string, SubstrateDecky>;
  /** Runs before a decky is ensured; may wait, and may throw. */
  beforeEnsure: (decky: SubstrateDecky) => unknown;
}

export function spySubstrate(): SpySubstrate {
  const spy: SpySubstrate = {
    ...recordSubstrate,
    // Nobody fights for a record.
    name: 'docker',
    calls: [],
    running: new Map(),
    beforeEnsure: () => {},
    async ensureDecky(decky, fence) {
      spy.calls.push(`ensure ${decky.name} ${decky.services.join()}`);
      await spy.beforeEnsure(decky);
      await fence.admit();
      spy.running.set(decky.name, decky);
    },
    async removeDecky({ name }, fence) {
      spy.calls.push(`remove ${name}`);
      await fence.admit();
      spy.running.delete(name);
    },
  };
  return spy;
}

/** What waits in the outbox, in order. */
export async function told(db: Db): Promise<{ topic: string; type: string; payload: JsonObject }[]> {
  const rows = await db.selectFrom('outbox').selectAll().orderBy('seq').execute();
  return rows.map(({ topic, type, payload }) => {
    const parsed: unknown = JSON.parse(payload);
    return { topic, type, payload: isJsonObject(parsed) ? parsed : {} };
  });
}

export async function insertFleetDecky(db: Db, name: string, columns: Partial<FleetDeckyRow> = {}): Promise<void> {
  await db
    .insertInto('fleet_deckies')
    .values({
      name,
      host_uuid: 'host-1',
      archetype: 'web-server',
      services: '["http","ssh"]',
      service_pool: '["ftp","http","https","ssh"]',
      mutate_interval: null,
      state: 'running',
      last_mutated_at: null,
      next_due_at: null,
      updated_at: '2026-11-21T08:00:00.000Z',
      ...columns,
    })
    .execute();
}

/** A request of any method; a body makes it JSON, and a string body is sent as it is. */
export function send(method: string, path: string, body?: unknown, headers: Record<string, string> = asAdmin): Request {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return new Request(`http://localhost/api/v1${path}`, {
    method,
    headers: { ...headers, ...(text === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(text === undefined ? {} : { body: text }),
  });
}
