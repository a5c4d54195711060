import type { EventLog } from '../bus/event-log.ts';
import type { Db } from '../db/database.ts';
import type { Log } from '../telemetry/log.ts';
import { isSeeded, seedDemo } from './seed.ts';
import { seedAttackers } from './seed-attackers.ts';
import { seedFleet } from './seed-fleet.ts';
import { startDemoTraffic } from './traffic.ts';

export interface DemoStartParts {
  readonly db: Db;
  readonly eventLog: Pick<EventLog, 'publish'>;
  readonly onCommitted: () => void;
  readonly logger: Log;
}

/** Something happens in the demonstration so often. */
const INTERVAL_MS = 250;

/** A fleet, topologies and what was told of attackers to look at, in a database that has none. */
export async function seedDemonstration({ db, eventLog }: Pick<DemoStartParts, 'db' | 'eventLog'>): Promise<void> {
  // Told first: where this ends in between, the next start tells it again under the same ids.
  if (!(await isSeeded(db))) await eventLog.publish(seedAttackers(Date.now()).map((event) => ({ event })));
  await seedDemo(db, Date.now());
  await db.transaction().execute((trx) => seedFleet(trx, Date.now()));
}

/** Keeps the demonstration busy. */
export function startDemo({ db, eventLog, onCommitted, logger }: DemoStartParts) {
  return startDemoTraffic({
    db,
    publish: (event) => eventLog.publish([{ event }]),
    onCommitted,
    logger,
    intervalMs: INTERVAL_MS,
  });
}
