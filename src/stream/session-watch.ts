import { SESSION_REVOKED_TOPIC } from '../auth/session-revoked.ts';
import type { Batch } from '../bus/entry.ts';
import { payloadText } from '../bus/logged-event.ts';
import type { TailListener } from '../bus/tail.ts';

/**
 * Ends open streams of sessions that were revoked on any node: revocations are events, and every tail reads them.
 * @param recheck asks again about one user's streams, or about all
 */
export function sessionWatch(recheck: (userUuid?: string) => Promise<void>): TailListener {
  return {
    onBatch(batch: Batch) {
      if (batch.channel !== 'system') return;
      for (const entry of batch.entries) {
        if (entry.topic === SESSION_REVOKED_TOPIC) void recheck(payloadText(entry, 'user_uuid'));
      }
    },
    // A revocation may be among the events that were not seen.
    onBreak: () => void recheck(),
  };
}
