import type { Db } from '../db/database.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { type SecretBox, SecretBoxError } from './secret-box.ts';

/**
 * Says at the start whose secrets the configured keys do not open: nothing is sent to those webhooks, what comes is tried again until the keys are
 * right. Never rejects; each delivery says it, too.
 */
export async function tellUnreadableSecrets(db: Db, box: SecretBox, logger: Log): Promise<void> {
  try {
    const rows = await db
      .selectFrom('webhook_subscriptions')
      .select(['uuid', 'name', 'secret', 'previous_secret'])
      .orderBy('uuid')
      .execute();
    for (const { uuid, name, secret, previous_secret } of rows) {
      try {
        for (const sealed of [secret, previous_secret]) if (sealed !== null) box.open(sealed, uuid);
      } catch (error) {
        if (!(error instanceof SecretBoxError)) throw error;
        logger.error('the secret of a webhook cannot be opened, nothing is sent to it; see DECNET_WEBHOOK_KEYS', {
          ...{ webhook: uuid, name, error: error.message },
        });
      }
    }
  } catch (error) {
    logger.warn('secrets of webhooks could not be looked at', { error: describeError(error) });
  }
}
