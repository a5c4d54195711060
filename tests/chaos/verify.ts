import type { RawFrame } from './line.ts';
import type { Past } from './past.ts';
import { isSamePlace, nameOf, type Place, placeOf } from './place.ts';

/** What a client watches. */
export interface Watch {
  /** Below `/api/v1`. */
  readonly path: string;
  readonly channel: string;
  /** Whether the stream shows an event. @param data of its frame as it was published */
  readonly shows: (topic: string, data: string) => boolean;
  /** Whether a frame's data tells of the event; absent: it is the event as it was published. */
  readonly tells?: (told: Record<string, unknown>, data: string) => boolean;
  /** Name of the frame that it starts with; also of frames without an id that tell something beside the events. */
  readonly startEvent?: string;
  /** Frames are expected to skip offsets: each then carries `prev`. */
  readonly filtered: boolean;
  /** It starts with a state; otherwise with a position only. */
  readonly hasState: boolean;
}

/**
 * Checks a client's whole life against what the log has ever held, and excuses nothing: between resets every event that
 * the stream shows and that the snapshot did not contain, once, in order, as the log holds it, each chained to the one
 * before; a reset only when history is gone, and for the reason that it names.
 */
export class Reader {
  readonly #watch: Watch;
  readonly #past: Past;
  /** Where the chain stands; undefined before a position is known. */
  #at: Place | undefined;
  /** The state that the client has contains the events up to this revision. */
  #revision = 0;
  #reset: { readonly from: Place | undefined; readonly reason: string } | undefined;

  constructor(watch: Watch, past: Past) {
    this.#watch = watch;
    this.#past = past;
  }

  /** The client connects with the last id that it has had. @returns what is wrong, in words */
  opened(cursor: string): string | undefined {
    const place = placeOf(cursor);
    this.#reset = undefined;
    if (cursor === '') {
      this.#at = undefined;
      return undefined;
    }
    if (place === undefined) return `its own cursor '${cursor}' is none`;
    // A connection that was lost between a reset and its snapshot: the cursor is still the one of before.
    this.#at = place;
    return undefined;
  }

  /** @returns what is wrong, in words */
  read(frame: RawFrame): string | undefined {
    const data: unknown = JSON.parse(frame.data);
    if (!isObject(data)) return `data is no object: ${frame.data}`;
    if (frame.event === 'reset') return this.#readReset(String(data.reason));
    if (frame.id === undefined) return this.#readUnnumbered(frame.event);
    const place = placeOf(frame.id);
    if (place === undefined) return `'${frame.id}' is no cursor`;
    const problem = this.#readNumbered(frame.event, place, data);
    this.#at = place; // Also after a problem: the next one is to be its own.
    return problem;
  }

  #readUnnumbered(event: string): string | undefined {
    // With the bus away a fresh client gets its state at once and its position later.
    if (this.#at === undefined && event === 'snapshot') return undefined;
    if (event === this.#watch.startEvent) return undefined;
    return `a ${event} without id`;
  }

  #readNumbered(event: string, place: Place, data: Record<string, unknown>): string | undefined {
    const { hasState, startEvent } = this.#watch;
    // Where all frames have one name, the first one is the start.
    const isStart = startEvent === undefined ? event === (hasState ? 'snapshot' : 'ready') : this.#at === undefined;
    if (isStart && event !== 'resumed') return this.#start(event, place);
    if (this.#at === undefined) return `${event} ${nameOf(place)} before any position`;
    if (event === 'resumed') return this.#resumed(this.#at, place, data);
    return this.#follow(this.#at, event, place, data);
  }

  #readReset(reason: string): string | undefined {
    const from = this.#at;
    this.#at = undefined;
    const again = this.#reset;
    this.#reset = { from, reason };
    if (from === undefined) return `reset (${reason}) without a cursor${again === undefined ? '' : ', after a reset'}`;
    return undefined; // Whether it was right shows in the position that follows.
  }

  #start(event: string, place: Place): string | undefined {
    const [at, reset] = [this.#at, this.#reset];
    this.#reset = undefined;
    this.#revision = place.revision;
    if (at !== undefined) return `${event} at ${nameOf(place)} though ${nameOf(at)} was reached, without a reset`;
    if (!this.#past.epochs.has(place.epoch)) return `${event} of an epoch that never was: ${place.epoch}`;
    if (reset?.from === undefined) return undefined;
    return this.#mayReset(reset.from, reset.reason, place);
  }

  #mayReset(from: Place, reason: string, to: Place): string | undefined {
    const { channel } = this.#watch;
    const said = `reset (${reason}) from ${nameOf(from)} to ${nameOf(to)}`;
    if (from.epoch !== to.epoch) return reason === 'epoch' ? undefined : `${said}: another epoch is the reason`;
    const isTrimmed = this.#past.trimmedBelow(from.epoch, channel) > from.offset + 1;
    const isLost = this.#past.wasLost(channel, from);
    if (reason === 'trimmed' && isTrimmed) return undefined;
    if (reason === 'ahead' && isLost) return undefined;
    return `${said}: history is there: ${this.#past.tells(channel, from)}`;
  }

  #resumed(at: Place, place: Place, data: Record<string, unknown>): string | undefined {
    if (!isSamePlace(at, place)) return `resumed at ${nameOf(place)} instead of ${nameOf(at)}`;
    const position = placeOf(String(data.position));
    if (position?.epoch === at.epoch && position.offset >= at.offset) return undefined;
    return `resumed at ${nameOf(place)} though the channel stands at ${data.position}`;
  }

  #follow(at: Place, event: string, place: Place, data: Record<string, unknown>): string | undefined {
    const { channel, filtered } = this.#watch;
    if (place.epoch !== at.epoch) return `${nameOf(place)} is of another epoch than ${nameOf(at)}`;
    if (place.offset <= at.offset) return `${nameOf(place)} comes after ${nameOf(at)}`;
    const { prev, ...rest } = data;
    const before = typeof prev === 'string' ? placeOf(prev) : undefined;
    if (prev === undefined && (filtered || place.offset !== at.offset + 1))
      return `${nameOf(place)} follows ${nameOf(at)} without saying so`;
    if (prev !== undefined && (before === undefined || !isSamePlace(before, at)))
      return `${nameOf(place)} says to follow ${prev} and follows ${nameOf(at)}`;
    const path = this.#past.path(channel, at, place);
    if (typeof path === 'string') return path;
    const last = path.at(-1);
    const isEvent = event !== 'position';
    for (const kept of path) {
      const isDue = this.#watch.shows(kept.topic, kept.data) && !this.#contains(kept.revision);
      const isSent = isEvent && kept === last;
      const name = `${place.epoch}.${kept.offset} (${kept.topic})`;
      if (isDue && !isSent) return `${name} was left out`;
      if (isSent && !this.#watch.shows(kept.topic, kept.data)) return `${name} is nothing that this stream shows`;
      if (isSent && !isDue) return `${name} was told though the snapshot contained it`;
    }
    if (!isEvent || last === undefined) return undefined;
    const isTold = this.#watch.tells?.(rest, last.data) ?? Bun.deepEquals(rest, JSON.parse(last.data));
    return isTold ? undefined : `${nameOf(place)} carries another event`;
  }

  #contains(revision: number): boolean {
    return revision > 0 && revision <= this.#revision;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
