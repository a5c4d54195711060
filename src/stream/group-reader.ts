import type { Entry } from '../bus/entry.ts';
import { type Group, GroupGoneError, type Groups } from '../bus/groups.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';

/** The group and where it should stand. */
export interface Checkpoint {
  readonly group: Group;
  readonly offset: number;
}

/** Where the group stands is not known: an answer was lost, or it is not there yet. */
const UNKNOWN = -1;
/**
 * Bytes that a read of history holds at most, unless a single event is larger. How many events that will be is guessed
 * from the last ones, so that Redis need not look for the number; it is small first.
 */
const READ_BYTES = 64 * 1024;
/** What a first answer is taken for: nobody knows, and a single event may have two megabytes. */
const FIRST_BYTES = 512 * 1024;
const READ_EVENTS = { first: 8, most: 1000 } as const;

/**
 * The consumer group of one connection: opened once, when it is read first or is to be there, moved only when it stands
 * elsewhere, read in portions.
 */
export class GroupReader {
  readonly #groups: Pick<Groups, 'open' | 'read' | 'moveTo' | 'close'>;
  readonly #connection: string;
  readonly #channel: string;
  readonly #logger: Log;
  #group: Group | undefined;
  #opening: Promise<void> | undefined;
  #offset = UNKNOWN;
  /** The newest checkpoint: an idle connection has nothing to tell again. */
  #checkpointed = UNKNOWN;
  #count: number = READ_EVENTS.first;
  /** Bytes that the next answer is expected to have. */
  #expected = FIRST_BYTES;
  #closed = false;

  constructor(
    groups: Pick<Groups, 'open' | 'read' | 'moveTo' | 'close'>,
    connection: string,
    channel: string,
    logger: Log,
  ) {
    this.#groups = groups;
    this.#connection = connection;
    this.#channel = channel;
    this.#logger = logger;
  }

  /** Whether there is a group, or one is being created. */
  get isOpen(): boolean {
    return this.#group !== undefined || this.#opening !== undefined;
  }

  /**
   * The group is there; created at the offset when it was not.
   * @throws {GroupGoneError} when the channel has no such place
   */
  async open(offset: number): Promise<void> {
    if (this.#group !== undefined || this.#closed) return;
    this.#opening ??= this.#create(offset).finally(() => {
      this.#opening = undefined;
    });
    await this.#opening;
  }

  async #create(offset: number): Promise<void> {
    this.#group = await this.#groups.open(this.#connection, this.#channel, offset);
    this.#offset = offset;
    // Closed while it was being created.
    if (this.#closed) await this.close();
  }

  /**
   * The events after the offset, a portion of them; empty when there are none.
   * @throws {GroupGoneError}
   */
  async read(offset: number): Promise<Entry[]> {
    await this.open(offset);
    const group = this.#group;
    if (group === undefined) return [];
    try {
      if (this.#offset !== offset) await this.#groups.moveTo(group, offset);
      this.#offset = UNKNOWN; // Reading moves it, also when the answer is lost.
      const most = { events: this.#count, bytes: READ_BYTES };
      const entries = await this.#groups.read(group, offset, most, this.#expected);
      this.#offset = entries.at(-1)?.offset ?? offset;
      this.#adaptTo(entries);
      return entries;
    } catch (error) {
      if (error instanceof GroupGoneError) this.gone();
      throw error;
    }
  }

  /** The group was found gone; the next read creates it again. */
  gone(): void {
    this.#checkpointed = UNKNOWN;
    this.#group = undefined;
  }

  /** What is to be told to Redis so that the group stands at the offset; `undefined` when it does. */
  takeCheckpoint(offset: number): Checkpoint | undefined {
    if (this.#group === undefined || this.#offset === offset || this.#checkpointed === offset) return undefined;
    // Not known before Redis has answered; the next read moves it if it must.
    this.#offset = UNKNOWN;
    this.#checkpointed = offset;
    return { group: this.#group, offset };
  }

  /** Destroys the group. Safe to call again. */
  async close(): Promise<void> {
    this.#closed = true;
    const group = this.#group;
    this.#group = undefined;
    if (group === undefined) return;
    await this.#groups.close(group).catch((error: unknown) =>
      // The node's lease covers it: a reaper destroys it when this node has gone.
      this.#logger.warn('a consumer group could not be destroyed', { error: describeError(error) }),
    );
  }

  #adaptTo(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    const average = entries.reduce((sum, entry) => sum + entry.data.length, 0) / entries.length;
    this.#expected = Math.max(READ_BYTES, average);
    this.#count = Math.max(1, Math.min(READ_EVENTS.most, Math.floor(READ_BYTES / Math.max(1, average))));
  }
}
