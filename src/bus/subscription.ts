import { LOG_CHANNEL } from './channel.ts';
import type { Batch, Entry } from './entry.ts';
import type { TailListener } from './tail.ts';
import { matcher } from './topic.ts';

/**
 * What workers of this process hear of the log: every event of these patterns from now on, in order. Not durable: a worker
 * keeps its work in the database and takes an event as a reason to look there, and so it does after a break.
 * @param onEvent called synchronously; must not throw
 * @param onBreak called when events may have been missed
 */
export function subscription(
  patterns: readonly string[],
  onEvent: (entry: Entry) => void,
  onBreak: () => void,
): TailListener {
  const isWanted = matcher(patterns);
  return {
    onBatch(batch: Batch) {
      if (batch.channel !== LOG_CHANNEL) return;
      for (const entry of batch.entries) if (isWanted(entry.topic)) onEvent(entry);
    },
    onBreak,
  };
}

/** One listener for several; they are told in this order. */
export function listeners(all: readonly TailListener[]): TailListener {
  return {
    onBatch: (batch) => {
      for (const listener of all) listener.onBatch(batch);
    },
    onBreak: (epoch) => {
      for (const listener of all) listener.onBreak(epoch);
    },
    onReconnect: () => {
      for (const listener of all) listener.onReconnect?.();
    },
  };
}
