import type { Redis } from 'ioredis';
import { LOG_CHANNEL } from './channel.ts';
import type { Cursor } from './cursor.ts';
import { type Batch, type Entry, type LogEntry, parseLogEntry } from './entry.ts';
import epochSource from './epoch.lua' with { type: 'text' };
import { newEpoch } from './event-log.ts';
import fittingSource from './fitting.lua' with { type: 'text' };
import { toRawEntries } from './groups.ts';
import historySource from './history.lua' with { type: 'text' };
import { keys } from './keys.ts';
import { asList, script } from './script.ts';
import type { TailListener } from './tail.ts';

const historyScript = script(epochSource, fittingSource, historySource);

/** Events, and bytes of their data, that one read answers at most; a single event may be larger. */
const READ = { events: 1000, bytes: 1024 * 1024 } as const;
/** Characters of data of the newest events that are kept for readers who are nearly there. */
const RECENT_SIZE = 4 * 1024 * 1024;

/** Portions that are kept for the other readers. */
const PORTIONS = 6;

/** A reader's place in the log. */
export type LogPlace = Pick<Cursor, 'epoch' | 'offset' | 'proof'>;

/** What the log says to a reader who stands at a place. */
export type HistoryPart =
  /** The log holds the place, perhaps under a new epoch; these come next, none at its end. */
  | { readonly kind: 'next'; readonly epoch: string; readonly entries: readonly LogEntry[] }
  /** What comes next has been trimmed: the oldest that is kept stands behind `from`. */
  | { readonly kind: 'trimmed'; readonly from: LogPlace }
  /** The log is another one, or came back older. */
  | { readonly kind: 'replaced' };

/** Where the log begins and ends. */
export interface LogRange {
  /** The place before the oldest event that is kept. */
  readonly begin: LogPlace;
  /** The oldest event's own epoch, that of its publication; that of the log when it holds none. */
  readonly oldestEpoch: string;
  readonly end: LogPlace;
}

/**
 * Reads the log by place, for readers that keep theirs in the database: what they have read is acknowledged by the
 * transaction that uses it, so they have no consumer group, which would keep a second place beside it that a crash leaves
 * different. Told by the tail, it has the newest events in memory.
 */
export class LogHistory implements TailListener {
  readonly #redis: Redis;
  readonly #onMore: () => void;
  /** What was read last, by the place behind which it stands: several readers go the same way. */
  readonly #portions = new Map<string, HistoryPart>();
  #recent: LogEntry[] = [];
  #size = 0;
  #epoch = '';

  /**
   * @param redis a connection for large answers
   * @param onMore called when there is something new to read
   */
  constructor(redis: Redis, onMore: () => void = () => {}) {
    this.#redis = redis;
    this.#onMore = onMore;
  }

  onBatch(batch: Batch): void {
    if (batch.channel !== LOG_CHANNEL) return;
    const entries = batch.entries.filter(isLogEntry);
    if (batch.epoch !== this.#epoch || entries[0]?.before !== this.#recent.at(-1)?.proof) this.#forget(batch.epoch);
    this.#recent.push(...entries);
    this.#size += sizeOf(entries);
    let surplus = 0;
    for (const entry of this.#recent) {
      if (this.#size <= RECENT_SIZE) break;
      this.#size -= entry.data.length;
      surplus += 1;
    }
    if (surplus > 0) this.#recent = this.#recent.slice(surplus);
    this.#onMore();
  }

  onBreak(epoch: string): void {
    this.#forget(epoch);
    this.#onMore();
  }

  /** What comes after a place: a portion of it. */
  async read(place: LogPlace): Promise<HistoryPart> {
    const recent = this.#after(place);
    if (recent !== undefined) return { kind: 'next', epoch: place.epoch, entries: recent };
    const key = `${place.epoch} ${place.offset} ${place.proof}`;
    const portion = this.#portions.get(key);
    if (portion !== undefined) return portion;
    const { epoch, end, proof, isKnown, entries } = await this.#ask(place.offset);
    if (isKnown && proof === place.proof) {
      const next: HistoryPart = { kind: 'next', epoch, entries };
      // Not the last one: others come to stand behind that. What the others say stays true.
      const last = entries.at(-1);
      if (epoch === place.epoch && last !== undefined && last.offset < end.offset) this.#keep(key, next);
      return next;
    }
    if (isKnown || epoch !== place.epoch || place.offset > end.offset) return { kind: 'replaced' };
    return { kind: 'trimmed', from: beginOf(entries[0], end) };
  }

  async range(): Promise<LogRange> {
    const { end, entries } = await this.#ask(-1);
    return { begin: beginOf(entries[0], end), oldestEpoch: entries[0]?.epoch ?? end.epoch, end };
  }

  async #ask(offset: number) {
    const answer = await historyScript.run(
      this.#redis,
      [keys.meta, keys.stream(LOG_CHANNEL)],
      [newEpoch(), keys.allStreams, offset, READ.events, READ.bytes],
    );
    const [epoch, newest, newestProof, proof, isKnown, entries] = asList(answer);
    const end: LogPlace = { epoch: String(epoch), offset: Number(newest), proof: String(newestProof) };
    return {
      epoch: end.epoch,
      end,
      proof: String(proof),
      isKnown: isKnown === 1,
      entries: toRawEntries(asList(entries)).map(parseLogEntry),
    };
  }

  #keep(key: string, part: HistoryPart): void {
    this.#portions.set(key, part);
    const [oldest] = this.#portions.keys();
    if (oldest !== undefined && this.#portions.size > PORTIONS) this.#portions.delete(oldest);
  }

  #after({ epoch, offset, proof }: LogPlace): readonly LogEntry[] | undefined {
    const [oldest] = this.#recent;
    if (oldest === undefined || epoch !== this.#epoch) return undefined;
    const index = offset + 1 - oldest.offset;
    if (this.#recent[index]?.before !== proof) return undefined;
    return this.#recent.slice(index, index + READ.events);
  }

  #forget(epoch: string): void {
    this.#epoch = epoch;
    this.#recent = [];
    this.#size = 0;
    this.#portions.clear();
  }
}

function beginOf(oldest: LogEntry | undefined, end: LogPlace): LogPlace {
  return oldest === undefined ? end : { epoch: end.epoch, offset: oldest.offset - 1, proof: oldest.before };
}

function isLogEntry(entry: Entry): entry is LogEntry {
  return 'places' in entry && 'epoch' in entry;
}

function sizeOf(entries: readonly LogEntry[]): number {
  return entries.reduce((sum, { data }) => sum + data.length, 0);
}
