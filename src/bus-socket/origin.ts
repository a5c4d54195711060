/** Hex digits of an id. All together they are the 32 of a UUID v4, its version and variant in their places. */
const TAG_DIGITS = 12;
const COUNT_DIGITS = 10;
const PROOF_DIGITS = 8;
/** Proofs that one hash makes: it has 64 digits. */
const PROOFS = 8;

interface Proofs {
  readonly block: number;
  readonly digits: string;
}

/**
 * Mints the ids of what a connection publishes, so that an id says by itself where the event came from: when it comes back by
 * way of the log, however late, nobody has to have remembered it. Nobody else can make an id that says so: it ends in a
 * proof.
 */
export class Origin {
  /** What its ids begin with. */
  readonly tag = randomHex(TAG_DIGITS / 2);
  readonly #secret = randomHex(32);
  #count = 0;
  #mintedWith: Proofs = { block: -1, digits: '' };
  #checkedWith: Proofs = { block: -1, digits: '' };

  /** The tag that an id begins with, whoever made it. */
  static tagOf(id: string): string {
    return id.slice(0, TAG_DIGITS);
  }

  /** A fresh event id: 32 hex digits. */
  mint(): string {
    this.#count += 1;
    this.#mintedWith = this.#proofsFor(this.#count, this.#mintedWith);
    return this.#idOf(this.#count, this.#mintedWith);
  }

  /** True for what {@link mint} has made. */
  made(id: string): boolean {
    if (id.length !== 32) return false;
    const count = Number.parseInt(
      id.slice(TAG_DIGITS + 1, TAG_DIGITS + 4) + id.slice(TAG_DIGITS + 5, -PROOF_DIGITS),
      16,
    );
    if (!(count <= this.#count)) return false;
    this.#checkedWith = this.#proofsFor(count, this.#checkedWith);
    return id === this.#idOf(count, this.#checkedWith);
  }

  #idOf(count: number, proofs: Proofs): string {
    const digits = count.toString(16).padStart(COUNT_DIGITS, '0');
    const at = (count % PROOFS) * PROOF_DIGITS;
    return `${this.tag}4${digits.slice(0, 3)}8${digits.slice(3)}${proofs.digits.slice(at, at + PROOF_DIGITS)}`;
  }

  #proofsFor(count: number, known: Proofs): Proofs {
    const block = Math.floor(count / PROOFS);
    if (known.block === block) return known;
    return { block, digits: new Bun.CryptoHasher('sha256').update(`${this.#secret} ${block}`).digest('hex') };
  }
}

function randomHex(bytes: number): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString('hex');
}
