import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { LOG_CHANNEL } from './channel.ts';
import type { Batch, Entry } from './entry.ts';
import type { TailListener } from './tail.ts';
import { matcher } from './topic.ts';

/**
 * What workers of this process hear of the log: every event of these patterns from now on, in order. Not durable: a worker
 * keeps its work in the database and takes an event as a reason to look there, and so it does after a break.
 * @param onEvent called synchronously; what it throws is thrown again once it has heard the whole batch
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
      const failures: unknown[] = [];
      for (const entry of batch.entries) {
        if (!isWanted(entry.topic)) continue;
        try {
          onEvent(entry);
        } catch (error) {
          // The events after it are wanted all the same.
          failures.push(error);
        }
      }
      if (failures.length > 0) throw new AggregateError(failures, failures.map(describeError).join('; '));
    },
    onBreak,
  };
}

/** One listener for several; they are told in this order. One that throws is logged and costs the others nothing. */
export function listeners(all: readonly TailListener[], logger: Log): TailListener {
  const tellEach = (doing: string, tell: (listener: TailListener) => void) => {
    for (const listener of all) {
      try {
        tell(listener);
      } catch (error) {
        const stack = error instanceof Error ? error.stack : undefined;
        logger.error('a listener of the log failed', { doing, error: describeError(error), stack });
      }
    }
  };
  return {
    onBatch: (batch) => tellEach(`telling events of ${batch.channel}`, (listener) => listener.onBatch(batch)),
    onBreak: (epoch) => tellEach('telling a break', (listener) => listener.onBreak(epoch)),
    onReconnect: () => tellEach('telling a new connection', (listener) => listener.onReconnect?.()),
  };
}
