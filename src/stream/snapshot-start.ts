import { LOG_CHANNEL } from '../bus/channel.ts';
import type { Place } from '../bus/cursor.ts';
import type { LogPlace } from '../bus/log-history.ts';
import { AppError } from '../errors.ts';
import type { EncodedSnapshot } from './shared-snapshots.ts';
import type { ContainedPlace } from './snapshot.ts';
import type { ConnectionParts } from './subscription.ts';

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
  let mark: Mark | undefined;
  for (let tries = 1; ; tries += 1) {
    const snapshot = await readable(read, tries);
    if (snapshot !== undefined) {
      const { contains } = snapshot;
      if (contains === undefined || !hasBus) return { snapshot, start: undefined };
      const isUnknown = contains.proof === '';
      const place = isUnknown ? await begin(eventLog, channel, contains, mark) : contains;
      const start = place && (await startOf({ eventLog, recovery }, channel, { ...place, epoch: contains.epoch }));
      if (start !== undefined) return { snapshot, start };
      // One that was no good has been trimmed since.
      if (isUnknown && (mark === undefined || place !== undefined)) mark = await markOf(eventLog, channel);
    }
    if (tries === TRIES) throw new AppError('unavailable', 'The state is not as far as its events; try again shortly');
    await Bun.sleep(WAIT_MS);
  }
}

/** Where a channel stood, and behind it the log: rows that are as far contain all that the channel had. */
interface Mark {
  readonly epoch: string;
  readonly place: Pick<Place, 'offset' | 'proof'>;
  readonly logOffset: number;
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
  { epoch, offset, proof }: LogPlace,
): Promise<Place | undefined> {
  const cursor = { epoch, offset, proof, revision: 0 };
  const opening = recovery.open({ kind: 'from', cursor }, await eventLog.position(channel, offset));
  return opening.kind === 'resume' ? opening.place : undefined;
}

/**
 * Where the stream of rows goes on that have met no event of the channel in this log. What is gone from the channel may still be
 * in the log, and become rows: where something is gone, they have to be as far as the log was when the channel was looked at.
 */
async function begin(
  eventLog: ConnectionParts['eventLog'],
  channel: string,
  { epoch, logOffset }: ContainedPlace,
  mark: Mark | undefined,
): Promise<Pick<Place, 'offset' | 'proof'> | undefined> {
  if (mark !== undefined && mark.epoch === epoch && logOffset >= mark.logOffset) return mark.place;
  const oldest = (await eventLog.oldest(channel)) ?? (await eventLog.position(channel));
  return oldest.offset === 0 ? oldest : undefined;
}

async function markOf(eventLog: ConnectionParts['eventLog'], channel: string): Promise<Mark> {
  const { epoch, offset, proof } = await eventLog.position(channel);
  // The channel first: what it gets between the two is in the log.
  const log = await eventLog.position(LOG_CHANNEL);
  return { epoch, place: { offset, proof }, logOffset: log.offset };
}
