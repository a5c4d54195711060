import { t } from 'elysia';
import { integer, orNull, ref } from '../http/schemas.ts';

const text = orNull(t.String());
const jsonText = orNull(t.String({ description: 'JSON in a string, as DECNET has it' }));

/** Contract §6.2. */
const campaign = {
  uuid: t.String(),
  schema_version: integer,
  first_seen_at: text,
  last_seen_at: text,
  created_at: t.String(),
  updated_at: t.String(),
  confidence: orNull(t.Number()),
  identity_count: integer,
  ja3_hashes: jsonText,
  hassh_hashes: jsonText,
  tls_cert_sha256: jsonText,
  payload_simhashes: jsonText,
  c2_endpoints: jsonText,
  merged_into_uuid: text,
  notes: text,
};

export const campaignModels = { Campaign: t.Object(campaign) };

/** What opens the stream of campaigns. */
export const campaignSnapshotSchema = t.Object({ campaigns: t.Array(ref('Campaign'), { maxItems: 50 }) });
