import type { JsonObject } from '../../src/bus/event.ts';
import type { Db } from '../../src/db/database.ts';
import { asAdmin, topologyApp } from './support.ts';

export interface Answer {
  readonly status: number;
  /** The parsed body; empty where there was none. */
  readonly body: JsonObject;
}

/** The topology routes behind one call: method, path, body as JSON. */
export function restOf(db: Db, options: Parameters<typeof topologyApp>[1] = {}) {
  const app = topologyApp(db, options);
  return {
    committed: app.committed,
    async call(method: string, path: string, body?: unknown, headers: Record<string, string> = asAdmin) {
      const request = new Request(`http://localhost/api/v1${path}`, {
        method,
        headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      const response = await app.handle(request);
      const text = await response.text();
      const parsed: JsonObject = text === '' ? {} : JSON.parse(text);
      return { status: response.status, body: parsed } satisfies Answer;
    },
  };
}

export type Rest = ReturnType<typeof restOf>;

/** A blank topology's id, made by its route. */
export async function blank(rest: Rest, name = 'blank'): Promise<string> {
  const { status, body } = await rest.call('POST', '/topologies/blank', { name });
  if (status !== 201) throw new Error(`POST /topologies/blank: ${status} ${JSON.stringify(body)}`);
  return String(body.id);
}

interface Lan {
  readonly id: string;
  readonly name: string;
  readonly subnet: string;
  readonly is_dmz: boolean;
}
interface Decky {
  readonly uuid: string;
  readonly name: string;
  readonly services: readonly string[];
  readonly decky_config: { readonly ips_by_lan: Readonly<Record<string, string>>; readonly [key: string]: unknown };
  readonly ip: string | null;
  readonly state: string;
  readonly last_error: string | null;
}
interface Edge {
  readonly id: string;
  readonly decky_uuid: string;
  readonly lan_id: string;
  readonly is_bridge: boolean;
  readonly forwards_l3: boolean;
}
export interface Detail {
  readonly topology: { readonly id: string; readonly status: string; readonly version: number };
  readonly lans: readonly Lan[];
  readonly deckies: readonly Decky[];
  readonly edges: readonly Edge[];
}

/** `GET /topologies/{id}`. */
export async function detail(rest: Rest, id: string): Promise<Detail> {
  const { body } = await rest.call('GET', `/topologies/${id}`);
  return JSON.parse(JSON.stringify(body));
}

/** The events that wait in the outbox, oldest first. */
export async function events(db: Db) {
  const rows = await db.selectFrom('outbox').selectAll().orderBy('seq').execute();
  return rows.map(({ topic, type, payload }) => ({ topic, type, payload: JSON.parse(payload) }));
}
