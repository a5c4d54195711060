import Docker from 'dockerode';
import { ClaimLost, type Fence } from './substrate.ts';

export interface EngineAddress {
  /** The engine's UNIX socket, such as `/var/run/docker.sock`. */
  readonly socketPath: string;
  /** An engine silent for so many milliseconds has failed. */
  readonly timeoutMs: number;
}

/** Old enough for engines since 2020, new enough for everything that is used here. */
const API_VERSION = 'v1.41';

export function connect({ socketPath, timeoutMs }: EngineAddress): Docker {
  return new Docker({ socketPath, version: API_VERSION, timeout: timeoutMs });
}

/** The engine as somebody sees it who acts under a claim: free to look, and asking before each change. */
export class FencedEngine {
  /** Only to look. */
  readonly look: Docker;
  readonly token: number;
  readonly #address: EngineAddress;
  readonly #fence: Fence;

  constructor(address: EngineAddress, fence: Fence) {
    this.look = connect(address);
    this.token = fence.token;
    this.#address = address;
    this.#fence = fence;
  }

  /**
   * Makes one change. It is given up before the claim can have gone to somebody else.
   * @throws {ClaimLost} when it has
   */
  async change<T>(make: (engine: Docker) => Promise<T>): Promise<T> {
    const limitMs = await this.#fence.admit();
    return make(connect({ ...this.#address, timeoutMs: Math.max(1, Math.min(this.#address.timeoutMs, limitMs)) }));
  }

  /** @throws {ClaimLost} when one of these is the token of a later claim */
  assertNotLater(fences: readonly number[]): void {
    if (fences.some((fence) => fence > this.token)) {
      throw new ClaimLost('what is there has been made under a later claim');
    }
  }
}
