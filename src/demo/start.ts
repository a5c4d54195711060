import type { EventLog } from '../bus/event-log.ts';
import type { Db } from '../db/database.ts';
import type { Log } from '../telemetry/log.ts';
import { seedDemo } from './seed.ts';
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

/** A fleet and topologies to look at, in a database that has none. */
export async function seedDemonstration(db: Db): Promise<void> {
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
