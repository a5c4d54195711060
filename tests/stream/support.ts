import { formatCursor, NO_PROOF, type Place } from '../../src/bus/cursor.ts';
import type { Batch, Entry } from '../../src/bus/entry.ts';
import { jsonFraming } from '../../src/stream/json-framing.ts';
import { sseFraming } from '../../src/stream/sse-framing.ts';
import type { Look, View } from '../../src/stream/view.ts';

export const CHANNEL = 'topology.t1';
export const EPOCH = 'k3v9';

/** The proof of an offset in the one history that these tests have. */
export const proofOf = (offset: number): string => (offset <= 0 ? NO_PROOF : offset.toString(16).padStart(8, '0'));

/** A place in that history. */
export const placeOf = (offset: number, revision = 0): Place => ({ offset, proof: proofOf(offset), revision });

/** The id that names it. */
export const idOf = (offset: number, epoch = EPOCH, revision = 0): string =>
  formatCursor({ epoch, ...placeOf(offset, revision) });

/** What proves the first event of a channel. */
export const FIRST = { before: NO_PROOF, proof: '00000001' } as const;

/** An event of the channel; its data says its number. */
export function entry(offset: number, overrides: Partial<Entry> = {}): Entry {
  const topic = overrides.topic ?? 'topology.t1.status';
  const [before, proof] = [proofOf(offset - 1), proofOf(offset)];
  return {
    offset,
    before,
    proof,
    id: `id-${offset}`,
    topic,
    data: JSON.stringify({ topic, n: offset }),
    revision: 0,
    ...overrides,
  };
}

/** Consecutive events as the tail hands them on. At least one. */
export function batchOf(entries: readonly Entry[], epoch = EPOCH, channel = CHANNEL): Batch {
  return { epoch, channel, first: entries[0]?.offset ?? 0, last: entries.at(-1)?.offset ?? 0, entries };
}

/** The events `first` to `last` in one batch. */
export function batch(first: number, last: number, epoch = EPOCH, channel = CHANNEL): Batch {
  return batchOf(
    Array.from({ length: last - first + 1 }, (_, index) => entry(first + index)),
    epoch,
    channel,
  );
}

/** A view that shows everything, each frame under the name `status`. */
export function view(overrides: Partial<View> = {}): View {
  return {
    key: 'test',
    channel: CHANNEL,
    eventName: () => 'status',
    shows: () => true,
    filtered: false,
    ...overrides,
  };
}

/** Every way that frames can look. */
export const FRAMINGS = [sseFraming, jsonFraming] as const;

/** How a view looks as server-sent events. */
export const asSse = (shown: View): Look => ({ view: shown, framing: sseFraming });

export const textOf = (chunks: readonly Uint8Array[]): string =>
  new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));

/** A frame, read as WHATWG HTML §9.2.6 says. */
export interface ParsedFrame {
  readonly id: string | undefined;
  readonly event: string | undefined;
  /** `undefined` when the frame has none: a client dispatches nothing then. */
  readonly data: string | undefined;
}

/** A parser written from the standard alone: fields of unknown names count too, so that nothing can hide in one. */
export function parseStream(text: string): { frames: ParsedFrame[]; fields: string[]; rest: string } {
  const frames: ParsedFrame[] = [];
  const fields: string[] = [];
  let pending: { id?: string; event?: string; data?: string } = {};
  const lines = text.split(/\r\n|\n|\r/);
  const rest = lines.pop() ?? '';
  for (const line of lines) {
    if (line === '') {
      frames.push({ id: pending.id, event: pending.event, data: pending.data });
      pending = {};
      continue;
    }
    const [, name = line, value = ''] = /^([^:]*): ?(.*)$/s.exec(line) ?? [];
    fields.push(name);
    if (name === 'data') pending.data = pending.data === undefined ? value : `${pending.data}\n${value}`;
    else if (name === 'event') pending.event = value;
    else if (name === 'id' && !value.includes('\0')) pending.id = value;
  }
  return { frames, fields, rest };
}
