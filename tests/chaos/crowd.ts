import type { Db } from '../../src/db/database.ts';
import type { Random } from '../support/random.ts';
import type { Archive } from './archive.ts';
import type { StormClient, Tally } from './client.ts';
import type { Fleet } from './fleet.ts';
import type { Load } from './load.ts';

/** How far the log was at one moment. */
export interface Mark {
  readonly epoch: string;
  /** Channel → offset. */
  readonly newest: ReadonlyMap<string, number>;
}

export interface CrowdOptions {
  readonly clients: readonly StormClient[];
  readonly fleet: Fleet;
  readonly archive: Archive;
  readonly load: Load;
  readonly random: Random;
}

/** Enough to fill the socket buffers of a client that has stopped reading (about 4 MB). */
const FLOOD = { events: 200, bytes: 30_000, chance: 0.15 } as const;

/** All clients together: what they do, what they have got, and who is behind. */
export class Crowd {
  readonly tally: Tally = { frames: 0, resumes: 0, moves: 0, resets: new Map() };
  readonly #options: CrowdOptions;

  constructor(options: CrowdOptions) {
    this.#options = options;
  }

  // --- what they do --------------------------------------------------------------------------------------------------

  /** Whoever has lost his connection, and has not gone on purpose, connects again. */
  bringBack(): void {
    for (const client of this.#options.clients) if (!client.away && !client.connected) void this.#connect(client);
  }

  /** Everybody connects and reads. */
  everyoneBack(): void {
    for (const client of this.#options.clients) {
      client.away = false;
      client.go();
    }
    this.bringBack();
  }

  /** They stall, go on, vanish and return, until it is ended. */
  mischief(): { end(): Promise<void> } {
    const { load, random } = this.#options;
    let isOver = false;
    const run = async () => {
      if (random.chance(FLOOD.chance)) await load.flood(FLOOD.events, FLOOD.bytes, () => isOver);
      while (!isOver) {
        await this.#act();
        await Bun.sleep(random.between(30, 150));
      }
    };
    const running = run();
    return {
      end() {
        isOver = true;
        return running;
      },
    };
  }

  async #act(): Promise<void> {
    const { clients, random } = this.#options;
    const [first, ...others] = clients;
    if (first === undefined) return;
    const client = random.pick([first, ...others]);
    const dice = random.next();
    if (dice < 0.25) client.stall();
    else if (dice < 0.5) client.go();
    else if (dice < 0.75) client.vanish();
    else await this.#connect(client);
  }

  async #connect(client: StormClient): Promise<void> {
    const { fleet, random } = this.#options;
    const [first, ...others] = fleet.urls;
    if (first !== undefined) await client.connect(random.pick([first, ...others]));
  }

  // --- what they have got --------------------------------------------------------------------------------------------

  /** Copies the log, and checks what they had got before that. @returns the violations, in words */
  async look(): Promise<string[]> {
    const { archive, clients } = this.#options;
    const lives = clients.map((client) => ({ client, lived: client.takeLived() }));
    await archive.copy();
    return lives.flatMap(({ client, lived }) => client.examine(lived, this.tally));
  }

  /** How far the log was when it was copied last. */
  mark(): Mark {
    const { archive } = this.#options;
    const newest = new Map(archive.channels.map((channel) => [channel, archive.newest(channel)]));
    return { epoch: archive.epoch, newest };
  }

  /** @returns who has not got that far yet, in words */
  behind({ newest }: Mark): string[] {
    const { archive, clients } = this.#options;
    return clients.flatMap((client) => {
      const { at, revision, watch, name } = client;
      const to = newest.get(watch.channel) ?? 0;
      const isHere = at?.epoch === archive.epoch && archive.past.stands(watch.channel, at) !== false;
      if (isHere && at.offset >= to) return [];
      // What it is not shown, and what its snapshot contained, moves nobody on.
      const due = archive.past.newest(archive.epoch, watch.channel, ({ offset, topic, data, revision: of }) => {
        return offset <= to && watch.shows(topic, data) && (of === 0 || of > revision);
      });
      if (isHere && at.offset >= due) return [];
      const log = `${archive.epoch}.${due}`;
      return [`${name} stands at ${at?.epoch}.${at?.offset}.${at?.proof}, the log at ${log}\n    ${client.trail()}`];
    });
  }

  /** Lets go of the events that all have got. They must all be in the present epoch. */
  forget(): void {
    const { archive, clients } = this.#options;
    archive.past.forget(archive.epoch, (channel) => {
      const examined = clients.filter(({ watch }) => watch.channel === channel).map(({ examinedAt }) => examinedAt);
      const offsets = examined.map((place) => (place?.epoch === archive.epoch ? place.offset : 0));
      return Math.min(archive.newest(channel), ...offsets);
    });
  }

  /** @returns whose screen differs from the database, and how */
  async misled(db: Db): Promise<string[]> {
    const misled: string[] = [];
    for (const client of this.#options.clients) {
      const difference = await client.screen.differs(db);
      if (difference !== undefined) misled.push(`${client.name} ${difference}\n    ${client.trail()}`);
    }
    return misled;
  }
}
