import type { Db } from '../db/database.ts';
import { isStorable } from '../db/storable.ts';
import { AppError } from '../errors.ts';
import type { WebhookEvent } from './body.ts';
import { eventOf } from './sender.ts';

/** An event that is kept for some delivery. @throws {AppError} `not_found` */
export async function eventById(db: Db, id: string): Promise<WebhookEvent> {
  const row = isStorable(id)
    ? await db.selectFrom('webhook_events').select('data').where('event_id', '=', id).executeTakeFirst()
    : undefined;
  if (row === undefined) throw new AppError('not_found', 'No delivery holds an event with this id');
  return eventOf(id, row.data);
}
