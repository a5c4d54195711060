import { isJsonObject, type Json, type JsonObject } from '../bus/event.ts';
import { printable } from '../projection/printable.ts';

/** Values that pages cut, split or compare as texts. */
const TEXTS = new Set([
  ...['kex_algorithms', 'encryption_s2c', 'sans', 'mechanisms', 'cert_sha256', 'self_signed'],
  ...['df_bit', 'sack_ok', 'timestamp', 'window_scale'],
]);
/** Lists of texts that pages show one by one. */
const LISTS = new Set(['order', 'signals']);

/**
 * A fingerprint as pages show it: an entry of DECNET's table of bounties, whose names of probes and values are others than
 * those of the event that told of it (contract §1.3, P5). What was told stays beside them.
 * @param found as it stands in an attacker's row
 * @param ip whom the probe looked at
 */
export function shownFingerprint(found: Json, ip: string): JsonObject {
  const bounty = isJsonObject(found) ? found : { value: found };
  const { payload: told = bounty, ...rest } = bounty;
  const payload = isJsonObject(told) ? told : { value: told };
  const kind = typeof payload.fingerprint_type === 'string' ? payload.fingerprint_type : 'unknown';
  const shown = safe({ ...payload, ...seenByProbe(kind, payload), ...targetOf(payload, ip) });
  return { ...rest, payload: { ...shown, fingerprint_type: groupOf(kind) } };
}

function seenByProbe(kind: string, told: JsonObject): JsonObject {
  switch (kind) {
    case 'jarm':
      return { hash: told.jarm_hash ?? null };
    case 'hassh':
      return { hash: told.hassh_server ?? null };
    case 'tcpfp':
      return { hash: told.tcpfp_hash ?? null };
    case 'icmp_error':
      return { matrix: told.icmp_matrix ?? null, fp_hash: told.icmp_fp_hash ?? null };
    case 'icmp6_error':
      return { matrix: told.icmp6_matrix ?? null, fp_hash: told.icmp6_fp_hash ?? null };
    case 'ipv6_leak':
      return { value: [told.addr, told.iid_kind, told.mac_oui, told.vector].filter((part) => part).join(' · ') };
    default:
      return {};
  }
}

/** A certificate without a target would be shown as one that the attacker's client presented. */
function targetOf({ port, target_ip = null, target_port }: JsonObject, ip: string): JsonObject {
  return port === undefined ? {} : { target_ip: target_ip ?? ip, target_port: target_port ?? port };
}

/** Pages group fingerprints in a plain object: a name that such an object has by itself is no group. */
function groupOf(kind: string): string {
  if (kind === 'hassh') return 'hassh_server';
  return kind in {} ? 'unknown' : kind;
}

function safe(payload: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(payload).map(([name, value]) => [name, safeValue(name, value)]));
}

function safeValue(name: string, value: Json | undefined): Json {
  if (name === 'errors') return isJsonObject(value) ? safeErrors(value) : null;
  if (LISTS.has(name)) return Array.isArray(value) ? value.map((item) => String(printable(item))) : null;
  const text = printable(value);
  if (!TEXTS.has(name) || text === null) return text;
  return Array.isArray(text) ? text.join(',') : String(text);
}

/** What came back, by the kind of ICMP error. */
function safeErrors(errors: JsonObject): JsonObject {
  const answered = Object.entries(errors).flatMap(([kind, error]) =>
    isJsonObject(error) ? [[kind, safe(error)]] : [],
  );
  return Object.fromEntries(answered);
}
