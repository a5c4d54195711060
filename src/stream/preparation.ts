import type { Place } from '../bus/cursor.ts';
import { describeError } from '../errors.ts';
import type { Opening, Resumption, Standing } from './recovery.ts';
import type { EncodedSnapshot } from './shared-snapshots.ts';
import { snapshotWithStart } from './snapshot-start.ts';
import type { ConnectionParts, Subscription } from './subscription.ts';

/** The log was asked where the channel stands. */
export interface Asked {
  /** `undefined` while Redis is down. Never rejects. */
  readonly standing: Promise<Standing | undefined>;
  /** That of the hub before the log was asked. */
  readonly generation: number;
  /** The hub's of the channel, likewise. */
  readonly mark: number;
}

/** What is read before a stream starts, so that a failure can still be an answer with a status. */
export interface Prepared {
  /** Where the channel stands; `undefined` while Redis is down. */
  readonly standing: Standing | undefined;
  readonly opening: Opening | undefined;
  readonly snapshot: EncodedSnapshot | undefined;
  /** Where the snapshot itself says that its stream goes on. */
  readonly start?: Place | undefined;
  /** That of the hub before the log was asked. */
  readonly generation: number;
  readonly mark: number;
}

/** Asks where the channel stands, and what it says of the place that is to be resumed from. */
export function askPosition(
  { view }: Subscription,
  { hub, eventLog, logger }: ConnectionParts,
  request: Resumption,
): Asked {
  const readerOffset = request.kind === 'from' ? request.cursor.offset : undefined;
  const [{ generation }, mark] = [hub, hub.markOf(view.channel)];
  const standing = eventLog.position(view.channel, readerOffset).catch((error: unknown) => {
    logger.debug('a stream opens without the bus', { error: describeError(error) });
    return undefined;
  });
  return { standing, generation, mark };
}

/**
 * Reads what the stream opens with. Position first, then the snapshot (invariant 5).
 * @param isOpen true when the client is streaming already: without the bus there is nothing new to tell it
 */
export async function prepareOpening(
  subscription: Subscription,
  parts: ConnectionParts,
  request: Resumption,
  { isOpen = false, asked = askPosition(subscription, parts, request) } = {},
): Promise<Prepared> {
  const { generation, mark } = asked;
  const standing = await asked.standing;
  if (standing !== undefined) await subscription.view.learn?.(standing.epoch);
  // With the bus down a fresh client gets its snapshot all the same, and one whose cursor is none is told so; a
  // returning one has its state already.
  const opening = standing === undefined ? openingWithoutBus(request) : parts.recovery.open(request, standing);
  const wantsSnapshot = opening !== undefined && opening.kind !== 'resume' && !(isOpen && standing === undefined);
  const { view, snapshot: read } = subscription;
  if (!wantsSnapshot || read === undefined) {
    return { standing, opening, snapshot: undefined, generation, mark };
  }
  const { snapshot, start } = await snapshotWithStart(
    parts,
    view.channel,
    () => parts.snapshots.read(view.key, read),
    standing !== undefined,
  );
  return { standing, opening, snapshot, start, generation, mark };
}

/** What needs no position: the state, and that a cursor is none. `undefined`: nobody knows whether it is honoured. */
function openingWithoutBus(request: Resumption): Opening | undefined {
  if (request.kind === 'from') return undefined;
  return request.kind === 'fresh' ? { kind: 'snapshot' } : { kind: 'reset', reason: 'malformed' };
}
