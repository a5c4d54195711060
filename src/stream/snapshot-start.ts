import type { Place } from '../bus/cursor.ts';
import { AppError } from '../errors.ts';
import type { ConnectionParts, Snapshot } from './connection.ts';
import type { EncodedSnapshot } from './shared-snapshots.ts';

/** A snapshot that the log does not go on from now may do so in a moment: its rows follow the log. */
const TRIES = 10;
const WAIT_MS = 150;

/**
 * Reads a snapshot, and where its stream goes on. Most are read after the position of their channel (invariant 5) and need
 * nothing else. Rows that follow the log are behind it: they say themselves which events they contain, and what comes after
 * those is told.
 * @param hasBus false: the log cannot be asked, and the stream opens again when it can
 * @returns `start`: where it goes on, for a snapshot that says so
 * @throws {AppError} `unavailable` when the log does not go on from there, for as long as anybody waits
 */
export async function snapshotWithStart(
  { eventLog, recovery }: Pick<ConnectionParts, 'eventLog' | 'recovery'>,
  channel: string,
  read: () => Promise<EncodedSnapshot>,
  hasBus: boolean,
): Promise<{ snapshot: EncodedSnapshot; start: Place | undefined }> {
  for (let tries = 1; ; tries += 1) {
    const snapshot = await readable(read, tries);
    if (snapshot !== undefined) {
      const { contains } = snapshot;
      if (contains === undefined || !hasBus) return { snapshot, start: undefined };
      const start = await startOf({ eventLog, recovery }, channel, contains);
      if (start !== undefined) return { snapshot, start };
    }
    if (tries === TRIES) throw new AppError('unavailable', 'The state is not as far as its events; try again shortly');
    await Bun.sleep(WAIT_MS);
  }
}

/** `undefined`: not now, but perhaps in a moment. */
async function readable(read: () => Promise<EncodedSnapshot>, tries: number): Promise<EncodedSnapshot | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof AppError && error.code === 'unavailable' && tries < TRIES) return undefined;
    throw error;
  }
}

async function startOf(
  { eventLog, recovery }: Pick<ConnectionParts, 'eventLog' | 'recovery'>,
  channel: string,
  contains: NonNullable<Snapshot['contains']>,
): Promise<Place | undefined> {
  const { epoch } = contains;
  const place = contains.proof === '' ? await begin(eventLog, channel) : contains;
  const cursor = { epoch, offset: place.offset, proof: place.proof, revision: 0 };
  const opening = recovery.open({ kind: 'from', cursor }, await eventLog.position(channel, cursor.offset));
  return opening.kind === 'resume' ? opening.place : undefined;
}

/** Of rows that contain nothing of a channel: all that it keeps comes after them. */
async function begin(log: ConnectionParts['eventLog'], channel: string): Promise<Pick<Place, 'offset' | 'proof'>> {
  return (await log.oldest(channel)) ?? (await log.position(channel));
}
