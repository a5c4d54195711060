/** A channel's event as a stream needs it: numbered, its frame data already encoded. */
export interface Entry {
  readonly offset: number;
  readonly id: string;
  readonly topic: string;
  /** The `data` of the live frame: one line of JSON, an object. */
  readonly data: string;
  /** The database revision that the event gave its channel; 0 for events without database state. */
  readonly revision: number;
}

/** Consecutive events of one channel, dispatched together. */
export interface Batch {
  readonly epoch: string;
  readonly channel: string;
  /** Offset of the first and of the last entry. */
  readonly first: number;
  readonly last: number;
  readonly entries: readonly Entry[];
}

/** What Redis answers for one stream entry: its id, then names and values in turn. */
export type RawEntry = [id: string, fields: string[]];

/** An entry of the log: an event with its places in its other channels. */
export interface LogEntry extends Entry {
  readonly epoch: string;
  readonly places: readonly { channel: string; offset: number; revision: number }[];
}

/** Reads an entry of a channel's stream. Missing fields read as empty: only a foreign writer leaves them out. */
export function parseEntry([id, fields]: RawEntry): Entry {
  const values = fieldsOf(fields);
  return {
    offset: offsetOf(id),
    id: values.get('id') ?? '',
    topic: values.get('topic') ?? '',
    data: values.get('data') ?? '{}',
    revision: Number(values.get('revision') || 0),
  };
}

/** Reads an entry of the log's stream. */
export function parseLogEntry(raw: RawEntry): LogEntry {
  const values = fieldsOf(raw[1]);
  const at = values.get('at') ?? '';
  const words = at === '' ? [] : at.split(' ');
  const places = [];
  for (let index = 0; index + 2 < words.length; index += 3) {
    places.push({
      channel: words[index] ?? '',
      offset: Number(words[index + 1]),
      revision: Number(words[index + 2]),
    });
  }
  return { ...parseEntry(raw), epoch: values.get('epoch') ?? '', places };
}

/** The offset that an entry id `<offset>-0` carries. */
export function offsetOf(entryId: string): number {
  return Number(entryId.slice(0, entryId.indexOf('-')));
}

/** The entry id of an offset. */
export function entryId(offset: number): string {
  return `${offset}-0`;
}

function fieldsOf(fields: readonly string[]): Map<string, string> {
  const values = new Map<string, string>();
  for (let index = 0; index + 1 < fields.length; index += 2) values.set(fields[index] ?? '', fields[index + 1] ?? '');
  return values;
}
