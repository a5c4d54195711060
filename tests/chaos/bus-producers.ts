import { Peer } from '../bus-socket/support.ts';
import type { Random } from '../support/random.ts';
import type { Fleet, Node } from './fleet.ts';
import type { Past } from './past.ts';

export interface BusProducersOptions {
  readonly random: Random;
  readonly topologies: readonly [string, ...string[]];
  readonly fleet: Fleet;
  readonly past: Past;
}

/** One connection to the bus socket of one life of a node. */
interface Stint {
  /** Told in each of its events, with a number: 1, 2, 3 … */
  readonly producer: string;
  readonly node: Node;
  readonly child: Node['child'];
  readonly peer: Peer;
  sent: number;
  /** It has left by itself. */
  hasLeft: boolean;
}

const PRODUCERS = 3;
const PAUSE_MS = 150;
const AT_ONCE = 4;
/** That a worker goes, one time with a goodbye, the other without. */
const LEAVE_CHANCE = 0.02;

/**
 * DECNET's workers: they publish by the bus socket of a node, which acknowledges nothing. What a node has not told Redis when it
 * dies is lost, and that is the end of what a worker has said to it, never something from the middle; that it comes in order and
 * once the {@link Past} watches over. A node that lives loses nothing.
 */
export class BusProducers {
  readonly problems: string[] = [];
  /** Events that were sent, and that died with their node. */
  sent = 0;
  lost = 0;
  readonly #options: BusProducersOptions;
  #stints: Stint[] = [];
  #isRunning = false;
  #running: Promise<unknown> | undefined;

  constructor(options: BusProducersOptions) {
    this.#options = options;
  }

  start(): void {
    this.#isRunning = true;
    this.#running = Promise.all(Array.from({ length: PRODUCERS }, () => this.#work()));
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    await this.#running;
  }

  /**
   * To be asked in calm.
   * @returns what living nodes took and the log has never held, in words
   */
  missing(): string[] {
    const living = this.#stints.filter(isAlive);
    for (const stint of living) {
      if (!stint.peer.isClosed || stint.hasLeft) continue;
      stint.hasLeft = true;
      this.problems.push(`${stint.node.name} lives and has closed the bus socket of ${stint.producer}`);
    }
    return living.flatMap(({ producer, sent, node }) => {
      const published = this.#options.past.produced(producer);
      return published >= sent ? [] : [`${producer} sent ${sent} events to ${node.name}, the log has had ${published}`];
    });
  }

  /** Lets go of those who have gone, once nothing of theirs can be on its way. */
  forget(): void {
    for (const { producer, sent } of this.#stints.filter((stint) => !isAlive(stint))) {
      this.lost += sent - this.#options.past.produced(producer);
    }
    this.#stints = this.#stints.filter((stint) => isAlive(stint) && !stint.hasLeft);
    const kept = new Set(this.#stints.map(({ producer }) => producer));
    this.#options.past.forgetProducers((producer) => kept.has(producer));
  }

  /** They go without a word. */
  abandon(): void {
    this.#isRunning = false;
    for (const { peer } of this.#stints) peer.breakOff();
  }

  async #work(): Promise<void> {
    const { random } = this.#options;
    let stint: Stint | undefined;
    while (this.#isRunning) {
      if (stint === undefined || stint.peer.isClosed) stint = await this.#begin();
      if (stint !== undefined) {
        this.#publish(stint);
        if (random.chance(LEAVE_CHANCE) && stint.peer.unwritten === 0) stint = leave(stint);
      }
      await Bun.sleep(PAUSE_MS * (0.5 + random.next()));
    }
  }

  /** @returns `undefined` when nobody listens */
  async #begin(): Promise<Stint | undefined> {
    const { random, fleet } = this.#options;
    const [first, ...others] = fleet.nodes.filter(({ child }) => child !== undefined);
    if (first === undefined) return undefined;
    const node = random.pick([first, ...others]);
    const { child } = node;
    const peer = await Peer.connect(node.busSocket).catch(() => undefined);
    if (peer === undefined) return undefined;
    const producer = `worker-${crypto.randomUUID().slice(0, 8)}`;
    peer.send('HELLO', producer);
    const stint = { producer, node, child, peer, sent: 0, hasLeft: false };
    this.#stints.push(stint);
    return stint;
  }

  #publish(stint: Stint): void {
    const { random, topologies } = this.#options;
    for (let count = random.between(1, AT_ONCE); count > 0; count -= 1) {
      const topology = random.pick(topologies);
      const topic = random.pick([`topology.${topology}.note`, 'identity.note', 'attacker.observed']);
      stint.sent += 1;
      this.sent += 1;
      stint.peer.publish(topic, { producer: stint.producer, n: stint.sent }, 'note');
    }
  }
}

function leave(stint: Stint): undefined {
  stint.hasLeft = true;
  if (stint.sent % 2 === 0) stint.peer.send('BYE');
  stint.peer.close();
}

/** The node that it was connected to has neither died nor been stopped since. */
function isAlive({ node, child }: Stint): boolean {
  return child !== undefined && node.child === child;
}
