import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { integer, orNull, pageOf, ref, time } from '../http/schemas.ts';

const jsonText = orNull(t.String({ description: 'JSON in a string, as DECNET has it' }));

const campaign = {
  uuid: t.String(),
  schema_version: integer,
  first_seen_at: orNull(time),
  last_seen_at: orNull(time),
  created_at: time,
  updated_at: time,
  confidence: orNull(t.Number()),
  identity_count: integer,
  ja3_hashes: jsonText,
  hassh_hashes: jsonText,
  tls_cert_sha256: jsonText,
  payload_simhashes: jsonText,
  c2_endpoints: jsonText,
  merged_into_uuid: orNull(t.String()),
  notes: orNull(t.String()),
};

export const campaignModels = {
  Campaign: t.Object(campaign),
  CampaignDetail: t.Object({
    ...campaign,
    identity_count_live: t.Unsafe<number>({ ...integer, description: 'Counted now' }),
  }),
};

export const campaignOperations = {
  list: operation('listCampaigns', {
    tag: 'campaigns',
    summary: 'List campaigns that are not merged into another, the newest change first',
    access: 'viewer',
    answers: { 200: pageOf(ref('Campaign')) },
    refuses: [422],
  }),
  read: operation('readCampaign', {
    tag: 'campaigns',
    summary: 'Read a campaign; of one that was merged, the one that it went into',
    access: 'viewer',
    answers: { 200: ref('CampaignDetail') },
    refuses: [404],
  }),
  identities: operation('listCampaignIdentities', {
    tag: 'campaigns',
    summary: 'List the identities of a campaign that are not merged into another',
    access: 'viewer',
    answers: { 200: pageOf(ref('Identity')) },
    refuses: [404, 422],
  }),
};

/** What opens the stream of campaigns. */
export const campaignSnapshotSchema = t.Object({ campaigns: t.Array(ref('Campaign'), { maxItems: 50 }) });
