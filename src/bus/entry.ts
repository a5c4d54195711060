import { NO_PROOF } from './cursor.ts';

/** A channel's event as a stream needs it: numbered, its frame data already encoded. */
export interface Entry {
  readonly offset: number;
  /** Proof of the place before this event, and of this one: whoever stands at the one may go on to the other. */
  readonly before: string;
  readonly proof: string;
  readonly id: string;
  readonly topic: string;
  /** The `data` of the live frame: one line of JSON, an object. */
  readonly data: string;
  /** The database revision that the event gave its channel; 0 for events without database state. */
  readonly revision: number;
  /** The epoch in which it was published, which may be one before that of the log; absent where an earlier version wrote it. */
  readonly epoch?: string;
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
  readonly places: readonly (Pick<Entry, 'offset' | 'before' | 'proof' | 'revision'> & { readonly channel: string })[];
}

/**
 * Reads an entry of a channel's stream. Its fields: `chain`, which holds `<before> <proof> <bytes of all the channel's events>
 * <revision> <event id> <topic> <epoch>`, and `data`. Missing ones read as empty: only a foreign writer leaves them out.
 */
export function parseEntry(raw: RawEntry): Entry {
  const [chain, data] = valuesOf(raw);
  return toEntry(raw[0], chain.split(' '), data);
}

/** Reads an entry of the log's stream: `chain` goes on with the time of publication and the event's places in its other channels. */
export function parseLogEntry(raw: RawEntry): LogEntry {
  const [chain, data] = valuesOf(raw);
  const words = chain.split(' ');
  const places = [];
  for (let index = 8; index + 4 < words.length; index += 5) {
    places.push({
      channel: words[index] ?? '',
      offset: Number(words[index + 1]),
      revision: Number(words[index + 2]),
      before: words[index + 3] ?? NO_PROOF,
      proof: words[index + 4] ?? NO_PROOF,
    });
  }
  return { ...toEntry(raw[0], words, data), epoch: words[6] ?? '', places };
}

/** The offset that an entry id `<offset>-0` carries. */
export function offsetOf(entryId: string): number {
  return Number(entryId.slice(0, entryId.indexOf('-')));
}

/** The entry id of an offset. */
export function entryId(offset: number): string {
  return `${offset}-0`;
}

function toEntry(entryId: string, words: readonly string[], data: string): Entry {
  const [before = NO_PROOF, proof = NO_PROOF, , revision = '0', id = '', topic = '', epoch] = words;
  const entry = { offset: offsetOf(entryId), before, proof, id, topic, data, revision: Number(revision) };
  return epoch === undefined || epoch === '' ? entry : { ...entry, epoch };
}

function valuesOf([, fields]: RawEntry): [chain: string, data: string] {
  const [name, chain = '', other, data = '{}'] = fields;
  if (name === 'chain' && other === 'data' && fields.length === 4) return [chain, data];
  return formerValuesOf(fields);
}

/** Entries that were written before had a field for each word. */
function formerValuesOf(fields: readonly string[]): [chain: string, data: string] {
  const values = new Map<string, string>();
  for (let index = 0; index + 1 < fields.length; index += 2) values.set(fields[index] ?? '', fields[index + 1] ?? '');
  const value = (name: string) => values.get(name) ?? '';
  const [before = '', proof = '', bytes = ''] = value('chain').split(' ');
  const words = [before || NO_PROOF, proof || NO_PROOF, bytes, value('revision') || '0', value('id'), value('topic')];
  return [
    [...words, value('epoch'), value('published') || '0', value('at')].join(' ').trimEnd(),
    values.get('data') ?? '{}',
  ];
}
