import type { Redis } from 'ioredis';
import { keys } from '../../bus/keys.ts';
import { countSetAside, listSetAside } from '../../bus/set-aside.ts';
import type { Db } from '../../db/database.ts';
import { type Check, type Finding, SET_ASIDE_ADVICE } from './check.ts';

/** Events that wait longer than this in the outbox are late (as `/readyz` says). */
const LATE_SECONDS = 10;
const SHOWN = 3;

/** Whether committed events reach the log: who leads, what waits, what was set aside, and what the witness says. */
export function relayCheck(db: Db, redis: Redis): Check {
  return {
    name: 'relay',
    isFleeting: true,
    async look() {
      const [waiting, aside] = [await outboxOf(db), await setAsideFindings(db)];
      const findings = [
        ...waiting.findings,
        ...(await leaderFindings(db)),
        ...aside,
        ...(await witnessFindings(db, redis)),
      ];
      return { facts: `${waiting.rows} events wait`, findings };
    },
  };
}

async function outboxOf(db: Db): Promise<{ rows: number; findings: Finding[] }> {
  const { rows, oldest } = await db
    .selectFrom('outbox')
    .select((select) => [select.fn.countAll<number>().as('rows'), select.fn.min('ts').as('oldest')])
    .executeTakeFirstOrThrow();
  const seconds = rows === 0 ? 0 : Date.now() / 1000 - Number(oldest);
  if (seconds <= LATE_SECONDS) return { rows, findings: [] };
  const text = `${rows} committed events wait to be published, the oldest for ${Math.round(seconds)} s`;
  const advice = 'a node with the role relay has to run and reach Redis: see its log';
  return { rows, findings: [{ name: 'lag', text, advice }] };
}

async function leaderFindings(db: Db): Promise<Finding[]> {
  const lease = await db.selectFrom('leases').selectAll().where('name', '=', 'relay').executeTakeFirst();
  if (lease !== undefined && lease.expires_at > Date.now()) return [];
  const advice = 'start a node that relays; where one runs, its log says why it does not lead';
  return [{ name: 'leader', text: 'no node leads the relay: state changes reach no client', advice }];
}

async function setAsideFindings(db: Db): Promise<Finding[]> {
  const total = await countSetAside(db);
  if (total === 0) return [];
  const rows = await listSetAside(db, { limit: SHOWN, offset: 0 });
  const shown = rows.map(({ event_id: id, topic, error }) => `${id} (${topic}: ${error})`).join('; ');
  const text = `${total} committed events could not be published: ${shown}${total > rows.length ? '; …' : ''}`;
  return [{ name: 'set-aside', text, advice: SET_ASIDE_ADVICE }];
}

async function witnessFindings(db: Db, redis: Redis): Promise<Finding[]> {
  const known = await db.selectFrom('log_witness').selectAll().orderBy('seq', 'desc').limit(1).executeTakeFirst();
  const [epoch, offset] = await redis.hmget(keys.meta, 'epoch', 'offset:log');
  if (known === undefined || !epoch) return [];
  if (known.epoch === epoch && known.log_offset <= Number(offset ?? 0)) return [];
  const text = `the database knows the log as ${known.epoch}.${known.log_offset}, Redis has ${epoch}.${offset ?? 0}`;
  const advice =
    'Redis was replaced or lost events: a relay resets all clients as soon as it leads. If none does, do DATABASE_URL and REDIS_URL belong together?';
  return [{ name: 'witness', text, advice }];
}
