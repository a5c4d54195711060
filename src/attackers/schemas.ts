import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { integer, json, jsonObject, oneOf, orNull, pageOf, ref, time } from '../http/schemas.ts';
import { identityModels } from '../identity/schemas.ts';

const { properties: attacker } = identityModels.Attacker;
const behavior = orNull(t.Unsafe<unknown>({ type: 'object', description: 'Told by no event: always null' }));
const observation = t.Object({
  primitive: t.String(),
  value: json,
  confidence: t.Number(),
  ts: t.Number({ description: 'Seconds since the epoch' }),
  source: t.String(),
});

export const attackerModels = {
  ListedAttacker: t.Object({ ...attacker, behavior }),
  AttackerDetail: t.Object({
    ...attacker,
    behavior,
    service_activity: t.Object({ interacted: t.Array(t.String()), scanned: t.Array(t.String()) }),
    ip_leaks: t.Array(json, { description: 'Told by no event: always empty' }),
    ip_leaks_total: integer,
    observations: t.Array(observation),
  }),
  /** What attribution says of a primitive. */
  Attribution: t.Object({
    primitive: t.String(),
    current_value: json,
    state: oneOf(['unknown', 'stable', 'drifting', 'conflicted', 'multi_actor']),
    confidence: t.Number(),
    observation_count: integer,
    last_change_ts: t.Number(),
    last_observation_ts: t.Number(),
  }),
};

const lines = t.Object({ total: integer, data: t.Array(ref('LogLine'), { maxItems: 200 }) });
const stix = t.Object({ type: t.Literal('bundle'), id: t.String(), objects: t.Optional(t.Array(jsonObject)) });
const misp = t.Object({ response: t.Array(jsonObject) });

const of = (id: string, summary: string, answer: Parameters<typeof pageOf>[0], refuses: (404 | 422)[] = [404]) =>
  operation(id, { tag: 'attackers', summary, access: 'viewer', answers: { 200: answer }, refuses });

const command = t.Object({ service: t.String(), decky: t.String(), command: t.String(), timestamp: time });
const target = t.Object({
  id: t.String(),
  attacker_uuid: t.String(),
  domain: t.String(),
  count: integer,
  first_seen: time,
  last_seen: time,
});
const attribution = t.Object({
  identity_uuid: orNull(t.String()),
  primitives: t.Array(ref('Attribution')),
});
const intel = t.Object(
  {
    attacker_uuid: t.String(),
    attacker_ip: t.String(),
    aggregate_verdict: orNull(oneOf(['malicious', 'suspicious', 'benign', 'unknown'])),
    updated_at: time,
  },
  { additionalProperties: true, description: 'What was told of the attacker, as it was told' },
);

export const attackerOperations = {
  list: of('listAttackers', 'List attackers, by default the last seen first', pageOf(ref('ListedAttacker')), [422]),
  stixOfAll: of('exportAttackersStix', 'Export the last thousand as a STIX 2.1 bundle', stix, []),
  mispOfAll: of('exportAttackersMisp', 'Export the last thousand as MISP events', misp, []),
  read: of('readAttacker', 'Read an attacker with all that is known of him', ref('AttackerDetail')),
  attribution: of('readAttribution', 'Read what attribution says of the attacker’s identity', attribution),
  commands: operation('listAttackerCommands', {
    tag: 'attackers',
    summary: 'List what the attacker typed; a limit or an offset out of range is brought into it',
    access: 'viewer',
    answers: { 200: pageOf(command) },
    refuses: [404],
    parameters: ['limit', 'offset', 'service'].map((name) => ({
      name,
      in: 'query',
      description: name === 'service' ? 'Of this service only' : 'Of the page; 50 and 0 by default, 200 at most',
    })),
  }),
  artifacts: of('listAttackerArtifacts', 'List the newest files that were captured of him', lines),
  transcripts: of('listAttackerTranscripts', 'List the newest sessions that were recorded of him', lines),
  smtpTargets: of(
    'listAttackerSmtpTargets',
    'List the domains that he sent mail to',
    t.Object({ total: integer, data: t.Array(target) }),
  ),
  mail: operation('listAttackerMail', {
    tag: 'attackers',
    summary: 'List the newest mails of his that were stored',
    access: 'admin',
    answers: { 200: lines },
    refuses: [404],
  }),
  intel: of('readAttackerIntel', 'Read what enrichment has found out; 404 when that is nothing', intel),
  stix: of('exportAttackerStix', 'Export the attacker as a STIX 2.1 bundle', stix),
  misp: of('exportAttackerMisp', 'Export the attacker as a MISP event', misp),
};

/** What opens an attacker's stream. */
export const attackerSnapshotSchema = t.Object({ attacker_uuid: t.String(), observations: t.Array(observation) });
