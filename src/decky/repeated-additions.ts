import { type Configured, ServiceIsThere } from './service-edit.ts';

interface Addition {
  readonly adding: Promise<Configured>;
  /** Milliseconds since the epoch; `undefined` while it is under way. */
  endedAt?: number;
}

/** A page that sends an addition again has not seen the answer to the first: it comes no later than that takes to arrive. */
const REMEMBERED_MS = 2000;
/** Additions of so many pages at once are more than anybody makes. */
const MOST = 1000;

/**
 * DECNET's dialog for a service without settings adds it twice: it looks at what it is about again as soon as it has begun.
 * The second is told what the first was told; otherwise its card would show a conflict for what has just succeeded.
 */
export class RepeatedAdditions {
  readonly #recent = new Map<string, Addition>();
  readonly #now: () => number;

  /** @param now milliseconds since the epoch */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /**
   * @param key the same for the same addition of the same page
   * @param add adds it; throws {@link ServiceIsThere} when it is there
   */
  add(key: string, add: () => Promise<Configured>): Promise<Configured> {
    this.#forget();
    const first = this.#recent.get(key);
    return first === undefined ? this.#remember(key, add()) : addAgain(first, add);
  }

  #remember(key: string, adding: Promise<Configured>): Promise<Configured> {
    const addition: Addition = { adding };
    this.#recent.set(key, addition);
    adding.then(
      () => {
        addition.endedAt = this.#now();
      },
      () => this.#recent.delete(key),
    );
    return adding;
  }

  #forget(): void {
    const old = this.#now() - REMEMBERED_MS;
    for (const [key, { endedAt = Number.POSITIVE_INFINITY }] of this.#recent) {
      if (endedAt < old || this.#recent.size > MOST) this.#recent.delete(key);
    }
  }
}

/** It may have been taken away meanwhile: only when it is there was it the first that added it. */
async function addAgain({ adding }: Addition, add: () => Promise<Configured>): Promise<Configured> {
  const told = await adding.catch(() => undefined);
  try {
    return await add();
  } catch (error) {
    if (told !== undefined && error instanceof ServiceIsThere) return told;
    throw error;
  }
}
