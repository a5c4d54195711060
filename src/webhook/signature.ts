import { createHmac } from 'node:crypto';

const PREFIX = 'whsec_';

/** What a request is signed with: the secret of now and, while a rotation's grace lasts, the one before. */
export interface SigningSecrets {
  readonly current: string;
  readonly previous?: string | undefined;
}

/**
 * The key of Standard Webhooks for a secret: `whsec_` and base64 of its bytes, what the libraries of receivers take. A secret that
 * already has this form is its own.
 */
export function standardSecret(secret: string): string {
  return isStandard(secret) ? secret : `${PREFIX}${Buffer.from(secret).toString('base64')}`;
}

/**
 * The headers that prove a request: DECNET's (contract §7.3: HMAC-SHA256 of the raw body, keyed with the secret's UTF-8 bytes) and
 * Standard Webhooks' (which sign id and time too, so that a recorded request cannot be sent again later).
 * @param id the same for every attempt, so that receivers can tell a repetition
 * @param timestamp seconds since the epoch, of this attempt
 */
export function signatureHeaders(secrets: SigningSecrets, id: string, timestamp: number, body: Uint8Array) {
  const { current, previous } = secrets;
  const both = previous === undefined ? [current] : [current, previous];
  return {
    'X-DECNET-Signature': `sha256=${hmac(Buffer.from(current), body).toString('hex')}`,
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': both.map((secret) => standardSignature(secret, id, timestamp, body)).join(' '),
  };
}

function standardSignature(secret: string, id: string, timestamp: number, body: Uint8Array): string {
  const key = Buffer.from(standardSecret(secret).slice(PREFIX.length), 'base64');
  return `v1,${hmac(key, Buffer.from(`${id}.${timestamp}.`), body).toString('base64')}`;
}

function hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  const mac = createHmac('sha256', key);
  for (const part of parts) mac.update(part);
  return mac.digest();
}

function isStandard(secret: string): boolean {
  const encoded = secret.slice(PREFIX.length);
  return secret.startsWith(PREFIX) && encoded !== '' && Buffer.from(encoded, 'base64').toString('base64') === encoded;
}
