import { createEvent, type Event } from '../bus/event.ts';
import { topics } from '../bus/topic.ts';

/** Tells every node that sessions ended, so that it ends their open streams. */
export const SESSION_REVOKED_TOPIC = topics.system('session.revoked');

export type RevocationReason =
  | 'logout'
  | 'password_changed'
  | 'password_reset'
  | 'role_changed'
  | 'user_deleted'
  | 'account_changed'
  | 'account_rotated'
  | 'account_revoked';

/**
 * @param userUuid the user, or the service account
 * @param jti the one session that ended, or null when any of theirs may have
 */
export function sessionRevoked(userUuid: string, jti: string | null, reason: RevocationReason): Event {
  return createEvent(SESSION_REVOKED_TOPIC, 'session.revoked', { user_uuid: userUuid, jti, reason });
}
