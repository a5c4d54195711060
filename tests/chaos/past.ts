import { LOG_CHANNEL } from '../../src/bus/channel.ts';
import { NO_PROOF } from '../../src/bus/cursor.ts';
import { nameOf, type Place } from './place.ts';

/** An event as a channel's stream held it. */
export interface Kept {
  readonly offset: number;
  readonly proof: string;
  /** The proof of the event before it. */
  readonly before: string;
  readonly id: string;
  readonly topic: string;
  readonly data: string;
  readonly revision: number;
  /** In the log: the epoch in which it was published. */
  readonly epoch?: string;
}

/** What a stream holds at one moment, or what was added to it since the last. */
export interface Sight {
  readonly entries: readonly Kept[];
  /** The oldest offset that it holds; `undefined` when it is empty. */
  readonly first: number | undefined;
  /** The newest offset that the channel has handed out. */
  readonly newest: number;
}

/** One channel in one epoch. */
class Line {
  /** Offsets are handed out twice when the log comes back older: then there are several. */
  readonly all = new Map<number, Kept[]>();
  /** Offset → proof, of what the log holds now. */
  now = new Map<number, string>();
  /** What it held before it came back older, until that is known. */
  wasThere: ReadonlyMap<number, string> | undefined;
  readonly lost = new Set<string>();
  trimmedBelow = 0;

  isContinuedBy({ offset, before }: Kept): boolean {
    return (this.now.get(offset - 1) ?? (this.now.size === 0 ? NO_PROOF : undefined)) === before;
  }

  hold(kept: Kept): void {
    this.now.set(kept.offset, kept.proof);
    const known = this.all.get(kept.offset) ?? [];
    if (!known.some(({ proof, id }) => proof === kept.proof && id === kept.id)) known.push(kept);
    this.all.set(kept.offset, known);
  }
}

/** Every event that the log has ever held, and what became of it: what the oracle knows. */
export class Past {
  readonly #lines = new Map<string, Line>();
  readonly epochs = new Set<string>();
  /** Ids of all events that were ever in the log, since the last {@link forget}. */
  readonly seen = new Set<string>();
  #places = new Map<string, number>();
  /** Who numbers his events → how many of them were ever in the log, and the id of each. */
  readonly #produced = new Map<string, string[]>();
  /** Whose events may be read again, and are known no more. */
  readonly #gone = new Set<string>();
  /** What may not happen whatever clients see. */
  readonly problems: string[] = [];

  /** How many events of somebody who numbers them were ever in the log: these are the first ones, in order, or it is a problem. */
  produced(producer: string): number {
    return this.#produced.get(producer)?.length ?? 0;
  }

  forgetProducers(isKept: (producer: string) => boolean): void {
    for (const producer of this.#produced.keys()) {
      if (isKept(producer)) continue;
      this.#produced.delete(producer);
      this.#gone.add(producer);
    }
  }

  record(epoch: string, channel: string, sight: Sight): void {
    this.epochs.add(epoch);
    const line = this.#line(epoch, channel);
    for (const kept of sight.entries) {
      line.hold(kept);
      if (channel === LOG_CHANNEL) this.#published(kept);
    }
    // An epoch that is rotated leaves the streams as they are: who has not noticed yet reads on under the old name.
    for (const [key, other] of this.#lines) {
      if (other === line || !key.endsWith(` ${channel}`)) continue;
      for (const kept of sight.entries) if (other.isContinuedBy(kept)) other.hold(kept);
    }
    line.trimmedBelow = Math.max(line.trimmedBelow, sight.first ?? sight.newest + 1);
    for (const [offset, proof] of line.wasThere ?? []) {
      if (line.now.get(offset) !== proof) line.lost.add(`${offset} ${proof}`);
    }
    line.wasThere = undefined;
  }

  /** The log came back older than it was: what it holds is to be recorded from the beginning. */
  rewound(): void {
    for (const line of this.#lines.values()) {
      line.wasThere = line.now;
      line.now = new Map();
    }
    this.#places = new Map();
  }

  /** Events below this offset are gone from the channel. */
  trimmedBelow(epoch: string, channel: string): number {
    return this.#lines.get(`${epoch} ${channel}`)?.trimmedBelow ?? 0;
  }

  /** True when the log has come back without the event at this place. */
  wasLost(channel: string, { epoch, offset, proof }: Place): boolean {
    return this.#lines.get(`${epoch} ${channel}`)?.lost.has(`${offset} ${proof}`) ?? false;
  }

  /** Whether the log holds the event at this place now; `undefined` when it holds none with this offset. */
  stands(channel: string, { epoch, offset, proof }: Place): boolean | undefined {
    const now = this.#lines.get(`${epoch} ${channel}`)?.now.get(offset);
    return now === undefined ? undefined : now === proof;
  }

  /** True when the log holds the event now. */
  holds(epoch: string, id: string): boolean {
    const line = this.#lines.get(`${epoch} ${LOG_CHANNEL}`);
    for (const [offset, proof] of line?.now ?? []) {
      if (line?.all.get(offset)?.some((kept) => kept.proof === proof && kept.id === id)) return true;
    }
    return false;
  }

  /** What is known of a place, in words. */
  tells(channel: string, { epoch, offset, proof }: Place): string {
    const line = this.#lines.get(`${epoch} ${channel}`);
    if (line === undefined) return 'an epoch that was never in the log';
    const known = line.all.get(offset)?.map((kept) => `${kept.proof} (${kept.topic})`) ?? [];
    const { now, lost, trimmedBelow } = line;
    return [
      known.length === 0 ? 'never in the log' : `was ${known.join(', ')}`,
      `is ${now.get(offset) ?? 'not there'} now`,
      lost.has(`${offset} ${proof}`) ? 'was lost' : 'was not lost',
      `kept from ${trimmedBelow} to ${Math.max(0, ...now.keys())}`,
      `lost ${[...lost].join(', ') || 'nothing'}`,
    ].join('; ');
  }

  /**
   * The events after `from` up to `to`, each chained to the one before.
   * @returns what is wrong, in words, when they are no chain
   */
  path(channel: string, from: Place, to: Place): readonly Kept[] | string {
    const line = this.#lines.get(`${to.epoch} ${channel}`);
    const path: Kept[] = [];
    let wanted = to.proof;
    for (let offset = to.offset; offset > from.offset; offset -= 1) {
      const kept = line?.all.get(offset)?.findLast(({ proof }) => proof === wanted);
      if (kept === undefined) {
        const others = line?.all.get(offset)?.map(({ proof }) => proof) ?? [];
        const known =
          others.length > 0
            ? `where it has ${others.join(', ')}`
            : `known up to ${Math.max(0, ...(line?.all.keys() ?? []))}`;
        return `${nameOf({ ...to, offset, proof: wanted })} is not in the log, ${known}`;
      }
      path.unshift(kept);
      wanted = kept.before;
    }
    if (wanted === from.proof) return path;
    return `${nameOf(to)} does not continue ${nameOf(from)}, but ${nameOf({ ...from, proof: wanted })}`;
  }

  /** The newest offset with an event that the log holds now and that is wanted; 0 for none. */
  newest(epoch: string, channel: string, wanted: (kept: Kept) => boolean): number {
    const line = this.#lines.get(`${epoch} ${channel}`);
    let newest = 0;
    for (const [offset, proof] of line?.now ?? []) {
      const kept = line?.all.get(offset)?.findLast((other) => other.proof === proof);
      if (offset > newest && kept !== undefined && wanted(kept)) newest = offset;
    }
    return newest;
  }

  /**
   * Lets go of what nobody will ask about any more.
   * @param epoch in which all clients are
   * @param reached the offset that all clients of a channel have reached
   */
  forget(epoch: string, reached: (channel: string) => number): void {
    this.seen.clear();
    for (const [key, line] of this.#lines) {
      const [of, channel = ''] = key.split(' ');
      if (of !== epoch) this.#lines.delete(key);
      const from = reached(channel);
      for (const offset of line.all.keys()) if (offset < from) line.all.delete(offset);
      for (const offset of line.now.keys()) if (offset < from) line.now.delete(offset);
      line.lost.clear();
    }
  }

  #line(epoch: string, channel: string): Line {
    const key = `${epoch} ${channel}`;
    const line = this.#lines.get(key) ?? new Line();
    this.#lines.set(key, line);
    return line;
  }

  /** What a new epoch takes over was published in the one before: publishing it again is no repetition. */
  #published({ id, offset, data, epoch: bornIn = '' }: Kept): void {
    this.seen.add(id);
    this.#number(id, data);
    const key = `${bornIn} ${id}`;
    const known = this.#places.get(key);
    if (known !== undefined && known !== offset) {
      this.problems.push(`event ${id} was published twice in epoch ${bornIn}, at ${known} and at ${offset} of the log`);
    }
    this.#places.set(key, offset);
  }

  /** A log that came back older is read again from its beginning: what was known is known. */
  #number(id: string, data: string): void {
    if (!data.includes('"producer"')) return;
    const { producer, n } = JSON.parse(data).payload;
    if (this.#gone.has(producer)) return;
    const ids = this.#produced.get(producer) ?? [];
    this.#produced.set(producer, ids);
    if (ids[n - 1] === id) return;
    if (n === ids.length + 1) return void ids.push(id);
    this.problems.push(`event ${n} of ${producer} came after ${ids.length} of them`);
    if (n > ids.length) ids[n - 1] = id; // Said once.
  }
}
