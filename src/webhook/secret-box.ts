import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { SealKey } from '../config.ts';

/** What is stored cannot be opened: its key is not there, or somebody changed it. The message holds no secret. */
export class SecretBoxError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'SecretBoxError';
  }
}

const VERSION = 'v1';
const CIPHER = 'aes-256-gcm';
// NIST SP 800-38D §8.2: a random nonce of 96 bits, never twice with one key.
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Encrypts secrets with the first of its keys and decrypts with any: a key is changed by putting a new one in front. */
export class SecretBox {
  readonly #current: SealKey;
  readonly #byId: ReadonlyMap<string, SealKey>;

  /** @param keys at least one; the first encrypts */
  constructor(keys: readonly [SealKey, ...SealKey[]]) {
    this.#current = keys[0];
    this.#byId = new Map(keys.map((key) => [key.id, key]));
  }

  /** @param owner whose secret it is; what was sealed for one opens for no other */
  seal(secret: string, owner: string): string {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.#current.key, nonce).setAAD(Buffer.from(owner));
    const sealed = Buffer.concat([nonce, cipher.update(secret, 'utf8'), cipher.final(), cipher.getAuthTag()]);
    return `${VERSION}.${this.#current.id}.${sealed.toString('base64url')}`;
  }

  /** @throws {SecretBoxError} when it cannot be opened */
  open(box: string, owner: string): string {
    const [version, keyId = '', encoded = ''] = box.split('.');
    if (version !== VERSION) throw new SecretBoxError('a stored secret has an unknown form');
    const key = this.#byId.get(keyId);
    if (key === undefined)
      throw new SecretBoxError(`the key '${keyId}' of a stored secret is not in DECNET_WEBHOOK_KEYS`);
    const bytes = Buffer.from(encoded, 'base64url');
    try {
      const decipher = createDecipheriv(CIPHER, key.key, bytes.subarray(0, NONCE_BYTES)).setAAD(Buffer.from(owner));
      decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
      return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]).toString();
    } catch {
      throw new SecretBoxError(
        `a stored secret does not open with the key '${keyId}': the key is another one (or DECNET_JWT_SECRET, for 'derived'), or the secret was changed`,
      );
    }
  }

  /** Whether it was sealed with the key of now; others are sealed anew by `decnet-live webhooks reencrypt`. */
  isCurrent(box: string): boolean {
    return box.split('.')[1] === this.#current.id;
  }
}
