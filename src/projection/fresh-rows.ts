import type { EventLog, Position } from '../bus/event-log.ts';
import { within } from '../bus/within.ts';
import type { Db } from '../db/database.ts';

/** Rows of a projection that follow from the events of one of its channels. */
export interface Followed {
  readonly projection: string;
  readonly channel: string;
}

export interface FreshRowsParts {
  readonly db: Db;
  readonly eventLog: Pick<EventLog, 'position'>;
}

/** A read waits so long at most: what is so far behind is shown as it is. */
const LONGEST_WAIT_MS = 1000;
/** For where a channel stands. */
const POSITION_MS = 300;
/** So often it is looked whether the rows have come: once for all who wait. */
const LOOK_EVERY_MS = 10;
/** Nobody waits again so soon after a wait in vain: whoever projects is away, or far behind. */
const REST_MS = 5000;

type Target = Followed & Pick<Position, 'epoch' | 'offset'>;

/** Where a projection stands in its channels. */
interface Standing {
  readonly epoch: string;
  readonly offsets: ReadonlyMap<string, number>;
}

interface InVain extends Pick<Target, 'epoch' | 'offset'> {
  readonly until: number;
}

/**
 * Lets reads wait for projections. Rows are behind the log, and a stream is not: pages that hear of an event read the rows
 * again at once and only once, and would show what was before it until the next event comes.
 */
export class FreshRows {
  readonly #parts: FreshRowsParts;
  /** By their delay: looks that have not begun, for all who come before they do. */
  readonly #looks = new Map<number, Promise<Map<string, Standing>>>();
  readonly #inVain = new Map<string, InVain>();

  constructor(parts: FreshRowsParts) {
    this.#parts = parts;
  }

  /**
   * Waits until the rows contain every event that was published before the call; a second at most. Never rejects: without
   * Redis nobody knows what to wait for, and without a database the read itself says so.
   */
  async wait(rows: readonly Followed[]): Promise<void> {
    const end = performance.now() + LONGEST_WAIT_MS;
    try {
      let missing = await this.#targets(rows);
      for (let delay = 0; missing.length > 0; delay = LOOK_EVERY_MS) {
        const standings = await this.#look(delay);
        missing = missing.filter((target) => isBehind(standings.get(target.projection), target));
        if (missing.length > 0 && performance.now() >= end) return this.#giveUp(missing);
      }
    } catch {
      // Nobody can say what is missing: the read goes on with what there is.
    }
  }

  async #targets(rows: readonly Followed[]): Promise<Target[]> {
    const now = performance.now();
    const hopeful = rows.filter((row) => now >= (this.#inVain.get(nameOf(row))?.until ?? now));
    const channels = [...new Set(hopeful.map(({ channel }) => channel))];
    const positions = Promise.all(channels.map((channel) => this.#parts.eventLog.position(channel)));
    const found = await within(positions, POSITION_MS, 'where channels stand');
    return hopeful.flatMap((row) => {
      const position = found[channels.indexOf(row.channel)];
      if (position === undefined) return [];
      const { epoch, offset } = position;
      const before = this.#inVain.get(nameOf(row));
      // Waited for once is enough: where its channel has no place written down, it would be so each time.
      const isKnown = before !== undefined && before.epoch === epoch && offset <= before.offset;
      return isKnown ? [] : [{ ...row, epoch, offset }];
    });
  }

  #look(delayMs: number): Promise<Map<string, Standing>> {
    let look = this.#looks.get(delayMs);
    if (look === undefined) {
      look = Bun.sleep(delayMs).then(() => {
        this.#looks.delete(delayMs);
        return readStandings(this.#parts.db);
      });
      this.#looks.set(delayMs, look);
    }
    return look;
  }

  #giveUp(missing: readonly Target[]): void {
    const until = performance.now() + REST_MS;
    for (const target of missing) {
      this.#inVain.set(nameOf(target), { epoch: target.epoch, offset: target.offset, until });
    }
  }
}

function isBehind(standing: Standing | undefined, { channel, epoch, offset }: Target): boolean {
  // Nobody projects, or what was published before the log was replaced: there is nothing to compare with.
  if (standing === undefined || standing.epoch !== epoch) return false;
  return (standing.offsets.get(channel) ?? 0) < offset;
}

async function readStandings(db: Db): Promise<Map<string, Standing>> {
  const rows = await db
    .selectFrom('projections')
    .leftJoin('projection_places', 'projection_places.projection', 'projections.name')
    .select(['name', 'epoch', 'channel', 'channel_offset'])
    .execute();
  const standings = new Map<string, { epoch: string; offsets: Map<string, number> }>();
  for (const { name, epoch, channel, channel_offset } of rows) {
    const standing = standings.get(name) ?? { epoch, offsets: new Map() };
    if (channel !== null && channel_offset !== null) standing.offsets.set(channel, channel_offset);
    standings.set(name, standing);
  }
  return standings;
}

const nameOf = ({ projection, channel }: Followed) => `${projection} ${channel}`;
