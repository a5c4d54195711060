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
  const payload = safe(isJsonObject(told) ? told : { value: told });
  const kind = typeof payload.fingerprint_type === 'string' ? payload.fingerprint_type : 'unknown';
  showProbe(payload, kind);
  // A certificate without a target would be shown as one that the attacker's client presented.
  if (payload.port !== undefined) {
    payload.target_ip ??= ip;
    payload.target_port ??= payload.port;
  }
  payload.fingerprint_type = groupOf(kind);
  return { ...rest, payload };
}

type Shown = Record<string, Json | undefined>;

function showProbe(shown: Shown, kind: string): void {
  switch (kind) {
    case 'jarm':
      shown.hash ??= shown.jarm_hash;
      return;
    case 'hassh':
      shown.hash ??= shown.hassh_server;
      return;
    case 'tcpfp':
      shown.hash ??= shown.tcpfp_hash;
      return;
    case 'icmp_error':
      shown.matrix ??= shown.icmp_matrix;
      shown.fp_hash ??= shown.icmp_fp_hash;
      return;
    case 'icmp6_error':
      shown.matrix ??= shown.icmp6_matrix;
      shown.fp_hash ??= shown.icmp6_fp_hash;
      return;
    case 'ipv6_leak':
      shown.value ??= [shown.addr, shown.iid_kind, shown.mac_oui, shown.vector].filter((part) => part).join(' · ');
  }
}

/** Pages group fingerprints in a plain object: a name that such an object has by itself is no group. */
function groupOf(kind: string): string {
  if (kind === 'hassh') return 'hassh_server';
  return kind in {} ? 'unknown' : kind;
}

/** A copy that can be printed. A loop: a list of attackers has thousands of them. */
function safe(told: JsonObject): Shown {
  const shown: Shown = {};
  for (const name in told) {
    const value = told[name];
    const isPlain = typeof value !== 'object' && !TEXTS.has(name) && !LISTS.has(name) && name !== 'errors';
    shown[name] = isPlain ? value : safeValue(name, value);
  }
  return shown;
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
