import type { Db } from '../db/database.ts';
import { isStorable } from '../db/storable.ts';
import { AppError } from '../errors.ts';

/** What events call an attacker. */
export interface Called {
  readonly uuid: string;
  readonly ip: string;
  readonly identity: string | null;
}

/**
 * The attacker of a uuid, also of one that he was known by before.
 * @throws {AppError} `not_found`
 */
export async function attackerCalled(db: Db, uuid: string): Promise<Called> {
  const row = isStorable(uuid)
    ? await db
        .selectFrom('attackers')
        .select(['uuid', 'ip', 'identity_id'])
        .where((eb) =>
          eb.or([
            eb('uuid', '=', uuid),
            // A producer has named him since.
            eb(
              'ip',
              '=',
              eb.selectFrom('attacker_uuids').select('attacker_uuids.ip').where('attacker_uuids.uuid', '=', uuid),
            ),
          ]),
        )
        .executeTakeFirst()
    : undefined;
  if (row === undefined) throw new AppError('not_found', 'Attacker not found');
  return { uuid: row.uuid, ip: row.ip, identity: row.identity_id };
}
