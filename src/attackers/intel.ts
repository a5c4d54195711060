import { isJsonObject, type Json, type JsonObject } from '../bus/event.ts';
import { printable, printableFields } from '../projection/printable.ts';

/** The words that pages know; they break at any other. */
const VERDICTS: readonly Json[] = ['malicious', 'suspicious', 'benign', 'unknown'];

/** By provider: the value that says that it has answered. */
const ANSWERS = {
  greynoise: 'greynoise_classification',
  abuseipdb: 'abuseipdb_score',
  feodo: 'feodo_listed',
  threatfox: 'threatfox_listed',
} as const;

/**
 * What enrichment has found out as pages show it: a row of DECNET's cache, with what the event says in place of the answers
 * that the cache keeps whole (contract §1.3, P5).
 * @param at ISO time of the event
 */
export function shownIntel(told: JsonObject, at: string): JsonObject {
  const { feodo_raw, threatfox_raw, ...rest } = told;
  const asked = Object.entries(ANSWERS).map(([provider, answer]) => [
    `${provider}_queried_at`,
    (told[answer] ?? null) === null ? null : at,
  ]);
  const [match] = Array.isArray(threatfox_raw) ? threatfox_raw : [];
  const [family] = Array.isArray(told.threatfox_malware_families) ? told.threatfox_malware_families : [];
  return {
    ...Object.fromEntries(asked),
    cached_at: at,
    expires_at: null,
    ...printableFields(rest),
    feodo_raw: { malware: malwareOf(feodo_raw) ?? printable(told.feodo_malware_family) },
    threatfox_raw: [{ malware: malwareOf(match) ?? printable(family) }],
    aggregate_verdict: VERDICTS.find((verdict) => verdict === told.aggregate_verdict) ?? null,
  };
}

function malwareOf(raw: Json | undefined): Json | undefined {
  return isJsonObject(raw) && raw.malware ? printable(raw.malware) : undefined;
}
