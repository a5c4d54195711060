import type { LogEntry } from '../../src/bus/entry.ts';
import { newEventId } from '../../src/bus/event.ts';
import type { HistoryPart, LogPlace, LogRange } from '../../src/bus/log-history.ts';

/** A log in memory that answers as {@link LogHistory} does; a test trims it, and replaces it. */
export class MemoryLog {
  epoch = 'e1';
  #entries: LogEntry[] = [];
  #begin = 0;
  #onMore: (() => void)[] = [];

  /** @returns the ids of the events */
  append(count: number, topic = 'attacker.scored', payload: { readonly [name: string]: string } = {}): string[] {
    const ids = Array.from({ length: count }, () => newEventId());
    for (const id of ids)
      this.#push({ id, topic, data: JSON.stringify({ topic, type: 't', ts: 1, payload }), epoch: this.epoch });
    for (const wake of this.#onMore) wake();
    return ids;
  }

  /** Keeps the newest. */
  trim(kept: number): void {
    this.#begin += this.#entries.length - kept;
    this.#entries = kept === 0 ? [] : this.#entries.slice(-kept);
  }

  /** As after a loss of Redis: it comes back with its oldest events alone, and goes on under another epoch. */
  loseNewest(epoch: string, kept: number): void {
    this.epoch = epoch;
    this.#entries = this.#entries.slice(0, kept);
    if (kept === 0) this.#begin = 0;
    for (const wake of this.#onMore) wake();
  }

  onMore(wake: () => void): void {
    this.#onMore.push(wake);
  }

  async read(place: LogPlace): Promise<HistoryPart> {
    const end = this.#begin + this.#entries.length;
    const proof = this.#proofAt(place.offset);
    if (proof === place.proof) {
      const from = place.offset - this.#begin;
      return { kind: 'next', epoch: this.epoch, entries: this.#entries.slice(from, from + 1000) };
    }
    if (proof !== undefined || place.epoch !== this.epoch || place.offset > end) return { kind: 'replaced' };
    return { kind: 'trimmed', from: (await this.range()).begin };
  }

  async range(): Promise<LogRange> {
    const at = (offset: number) => ({ epoch: this.epoch, offset, proof: this.#proofAt(offset) ?? '' });
    return { begin: at(this.#begin), oldestEpoch: this.epoch, end: at(this.#begin + this.#entries.length) };
  }

  #proofAt(offset: number): string | undefined {
    if (offset === this.#begin) return this.#entries[0]?.before ?? `${this.epoch}-${offset}`;
    return this.#entries[offset - this.#begin - 1]?.proof;
  }

  #push(event: Pick<LogEntry, 'id' | 'topic' | 'data' | 'epoch'>): void {
    const offset = this.#begin + this.#entries.length + 1;
    // Each place has a proof of its own, in each log another.
    const before = this.#proofAt(offset - 1) ?? '';
    this.#entries.push({ ...event, offset, before, proof: `${this.epoch}-${offset}`, revision: 0, places: [] });
  }
}
