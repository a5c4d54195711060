import { createEvent } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { topics } from '../bus/topic.ts';
import type { Db, Trx } from '../db/database.ts';

/** Rows of some projections are given up: all that follow from what stands before it in the log. */
export const PURGED = topics.system('data.purged');

/**
 * Gives up the rows of all projections that can be purged. They go by an event in the log, in its order: what comes after it counts, and a
 * rebuild that meets it again leaves the same.
 * @param actor the user who asks
 */
export async function askForPurge(db: Db, actor: string, onCommitted: () => void): Promise<void> {
  await db.transaction().execute(async (trx) => {
    const event = createEvent(PURGED, 'data.purged', { actor });
    const asked_at = new Date().toISOString();
    await trx.insertInto('purges').values({ event_id: event.id, asked_by: actor, asked_at }).execute();
    await appendToOutbox(trx, [event]);
  });
  onCommitted();
}

/** Whether an event of this topic was published by {@link askForPurge}. */
export async function wasAskedFor(trx: Trx, eventId: string): Promise<boolean> {
  const row = await trx.selectFrom('purges').select('event_id').where('event_id', '=', eventId).executeTakeFirst();
  return row !== undefined;
}
