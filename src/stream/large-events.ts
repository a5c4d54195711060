import { formatCursor } from '../bus/cursor.ts';
import type { Entry } from '../bus/entry.ts';
import { toBytes } from './framing.ts';
import { type ChainState, encodeEntries, isConsecutive, isSent, type Look, placeAfter } from './view.ts';

/** Smaller ones are cheaper to copy than to look for. */
const LARGE_CHARACTERS = 64 * 1024;

/** What somebody is taking. Whoever takes it keeps it; this only finds it. */
const taken = new Map<string, WeakRef<Uint8Array>>();
const collected = new FinalizationRegistry<string>((key) => {
  if (taken.get(key)?.deref() === undefined) taken.delete(key);
});

/**
 * The frames of consecutive entries for one connection. A large event that comes alone is encoded once for all who are taking it,
 * whatever their views and framings: a client takes it for as long as its network needs, and that many hold it.
 */
export function encodeHistory(
  look: Look,
  epoch: string,
  entries: readonly Entry[],
  from: ChainState,
): { readonly chunks: readonly Uint8Array[]; readonly state: ChainState } {
  const [entry] = entries;
  if (entry === undefined || entries.length > 1 || !isShareable(look, entry, from)) {
    const { text, state } = encodeEntries(look, epoch, entries, from);
    return { chunks: text === '' ? [] : [toBytes(text)], state };
  }
  const at = placeAfter(from.at, entry);
  const head = { id: formatCursor({ epoch, ...at }), event: look.view.eventName(entry.topic) };
  return { chunks: look.framing.around(head, bytesOf(entry)), state: { at, sent: at } };
}

function isShareable({ view }: Look, entry: Entry, { at, sent }: ChainState): boolean {
  const isLarge = entry.data.length > LARGE_CHARACTERS && !entry.data.includes('\n') && !entry.data.includes('\r');
  return isLarge && isSent(view, entry, at.revision) && isConsecutive(view, sent, entry.offset);
}

function bytesOf({ id, proof, data }: Entry): Uint8Array {
  const key = `${id} ${proof}`;
  const known = taken.get(key)?.deref();
  if (known !== undefined) return known;
  const bytes = toBytes(data);
  taken.set(key, new WeakRef(bytes));
  collected.register(bytes, key);
  return bytes;
}
