import { SESSION_REVOKED_TOPIC } from '../auth/session-revoked.ts';
import type { Batch } from '../bus/entry.ts';
import { payloadText } from '../bus/logged-event.ts';
import type { TailListener } from '../bus/tail.ts';

/** What is remembered of sessions. */
interface Memo {
  forget(userUuid?: string): void;
}

/**
 * Forgets sessions that were revoked on any node and ends their open streams: revocations are events, and every tail reads them.
 * @param recheck asks again about one user's streams, or about all
 * @param memo forgets first: nothing that is asked again may be answered by it
 */
export function sessionWatch(recheck: (userUuid?: string) => Promise<void>, memo: Memo): TailListener {
  const revoked = (userUuid?: string) => {
    memo.forget(userUuid);
    void recheck(userUuid);
  };
  return {
    onBatch(batch: Batch) {
      if (batch.channel !== 'system') return;
      for (const entry of batch.entries) {
        if (entry.topic === SESSION_REVOKED_TOPIC) revoked(payloadText(entry, 'user_uuid'));
      }
    },
    // A revocation may be among the events that were not seen.
    onBreak: () => revoked(),
    // What was revoked while nobody listened comes now; until it does, nothing of before counts.
    onReconnect: () => memo.forget(),
  };
}
