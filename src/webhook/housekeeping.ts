import type { Db } from '../db/database.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { endPending } from './deliveries.ts';
import { type Retention, removeAllSurplus, removeOld } from './retention.ts';
import type { Bounds } from './stock.ts';

/**
 * Removes what is over, and ends what waits for a subscription that was disabled because its receiver fails.
 * The node that delivers does it: two at once would each leave events to the other that no delivery needs any more.
 */
export async function tidyWebhooks(db: Db, retention: Retention, bounds: Bounds, logger: Log): Promise<void> {
  try {
    await removeOld(db, retention);
    const given = await db
      .selectFrom('webhook_subscriptions')
      .select(['uuid', 'last_error'])
      .where('enabled', '=', 0)
      .where('auto_disabled_at', 'is not', null)
      .execute();
    for (const { uuid, last_error } of given) {
      const count = await endPending(db, uuid, `the webhook was disabled: ${last_error ?? 'its receiver failed'}`);
      if (count > 0) logger.warn('deliveries to a disabled webhook became dead letters', { webhook: uuid, count });
    }
    for (const [webhook, count] of await removeAllSurplus(db, bounds)) {
      logger.warn('there are too many dead letters: the oldest were dropped', { webhook, count });
    }
  } catch (error) {
    logger.warn('webhooks could not be tidied up', { error: describeError(error) });
  }
}
