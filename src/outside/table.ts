import type { Role } from '../auth/principal.ts';
import type { JsonObject } from '../bus/event.ts';

/** What is answered where there is nothing behind it. */
export type Shape =
  /** This, always. */
  | { readonly is: 'fixed'; readonly body: JsonObject | readonly [] }
  /** An empty page, with the `limit` and `offset` that were asked for. */
  | { readonly is: 'page'; readonly most: number }
  /** 404; a part of the path that does not look like this is a 400. */
  | { readonly is: 'missing'; readonly detail: string; readonly parts?: Readonly<Record<string, RegExp>> };

export interface OutsideRead {
  readonly path: string;
  readonly role: Role;
  readonly shape: Shape;
  /** Whole numbers of the query beside those of a page: the least and the most (contract P9). */
  readonly numbers?: Readonly<Record<string, readonly [least: number, most: number]>>;
}

export interface OutsideWrite {
  readonly method: 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  /** What it would do, for the refusal. */
  readonly does: string;
}

const fixed = (path: string, body: JsonObject | readonly [], role: Role = 'viewer'): OutsideRead => ({
  path,
  role,
  shape: { is: 'fixed', body },
});
const page = (path: string, most = 1000, numbers: OutsideRead['numbers'] = {}): OutsideRead => ({
  path,
  role: 'viewer',
  shape: { is: 'page', most },
  numbers,
});

/** As DECNET names what it stores: `<ISO second>Z_<12 hex>_<name>`. */
const STORED_AS = /^\d{4}-\d\d-\d\dT\d\d[:-]?\d\d[:-]?\d\dZ_[0-9a-f]{12}_[^/]{1,255}$/;
const DECKY = /^[a-z0-9][a-z0-9-]{0,62}$/;
const SESSION = /^[A-Za-z0-9-]{1,64}$/;

/**
 * What DECNET's dashboard asks for outside of the live plane, with the smallest answer that its pages understand (contract
 * P8, P9): one without an array that a page expects would blank the whole dashboard.
 */
export const OUTSIDE_READS: readonly OutsideRead[] = [
  page('/bounty'),
  page('/credentials'),
  page('/credential-reuse', 1000, { min_target_count: [2, 1_000_000] }),
  { path: '/credential-reuse/:id', role: 'viewer', shape: { is: 'missing', detail: 'Credential reuse not found' } },
  fixed('/canary/tokens', { tokens: [], total: 0 }),
  fixed('/canary/blobs', { blobs: [], total: 0 }, 'admin'),
  {
    path: '/canary/tokens/:uuid/triggers',
    role: 'viewer',
    shape: { is: 'missing', detail: 'Canary token not found' },
    numbers: { limit: [1, 500] },
  },
  {
    path: '/canary/tokens/:uuid/preview',
    role: 'admin',
    shape: { is: 'missing', detail: 'Canary token not found' },
  },
  fixed('/realism/personas', { path: '', personas: [] }),
  page('/realism/synthetic-files', 500),
  {
    path: '/realism/synthetic-files/:uuid',
    role: 'viewer',
    shape: { is: 'missing', detail: 'Synthetic file not found' },
  },
  fixed('/realism/config', {
    user_class_weights: [],
    system_class_weights: [],
    canary_class_weights: [],
    canary_probability: 0.03,
  }),
  fixed('/realism/llm', { provider: 'ollama', base_url: null, model: 'llama3.1', timeout: 60, api_key_set: false }),
  fixed('/swarm/hosts', [], 'admin'),
  fixed('/swarm/deckies', [], 'admin'),
  fixed('/swarm-updates/hosts', { hosts: [] }, 'admin'),
  fixed('/ttp/rules', []),
  fixed('/ttp/by-identity/:uuid', []),
  fixed('/ttp/by-attacker/:uuid', []),
  fixed('/ttp/by-session/:uuid', []),
  {
    ...fixed('/ttp/tags/by-identity/:uuid/:technique', []),
    numbers: { limit: [1, 1000] },
  },
  {
    ...fixed('/ttp/tags/by-attacker/:uuid/:technique', []),
    numbers: { limit: [1, 1000] },
  },
  {
    ...fixed('/ttp/tags/by-session/:uuid/:technique', []),
    numbers: { limit: [1, 1000] },
  },
  fixed('/ttp/techniques/:technique/groups', []),
  fixed('/ttp/export/navigator/identity/:uuid', {
    name: 'decnet',
    versions: { attack: '15', navigator: '5.1.0', layer: '4.5' },
    domain: 'enterprise-attack',
    description: '',
    techniques: [],
  }),
  {
    path: '/transcripts/:decky/:sid',
    role: 'viewer',
    shape: { is: 'missing', detail: 'Transcript not found', parts: { decky: DECKY, sid: SESSION } },
    numbers: { limit: [1, 5000] },
  },
  {
    path: '/artifacts/:decky/:stored',
    role: 'admin',
    shape: { is: 'missing', detail: 'Artifact not found', parts: { decky: DECKY, stored: STORED_AS } },
  },
];

/** What its pages would change there; all of it is for administrators. */
export const OUTSIDE_WRITES: readonly OutsideWrite[] = [
  { method: 'POST', path: '/canary/tokens', does: 'plant canary tokens' },
  { method: 'DELETE', path: '/canary/tokens/:uuid', does: 'revoke canary tokens' },
  { method: 'POST', path: '/canary/blobs', does: 'store canary files' },
  { method: 'DELETE', path: '/canary/blobs/:uuid', does: 'store canary files' },
  { method: 'POST', path: '/deckies/files', does: 'put files onto deckies' },
  // Otherwise it would take down a decky of that name.
  { method: 'DELETE', path: '/deckies/files', does: 'put files onto deckies' },
  { method: 'POST', path: '/swarm/enroll-bundle', does: 'enrol hosts' },
  { method: 'POST', path: '/swarm/hosts/:uuid/teardown', does: 'manage hosts' },
  { method: 'DELETE', path: '/swarm/hosts/:uuid', does: 'manage hosts' },
  { method: 'POST', path: '/swarm-updates/push', does: 'update hosts' },
  { method: 'POST', path: '/swarm-updates/push-self', does: 'update hosts' },
  { method: 'POST', path: '/swarm-updates/rollback', does: 'update hosts' },
  { method: 'PUT', path: '/realism/personas', does: 'write mail in the name of personas of the fleet' },
  { method: 'PUT', path: '/realism/config', does: 'make synthetic files' },
  { method: 'PUT', path: '/realism/llm', does: 'ask language models' },
  { method: 'POST', path: '/ttp/rules/:id/state', does: 'recognise techniques' },
  { method: 'DELETE', path: '/ttp/rules/:id/state', does: 'recognise techniques' },
];
