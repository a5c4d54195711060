import type { Driver } from 'kysely';

/** Having held the file for so long in all, in milliseconds, it is left to others… */
const HELD_MS = 20;
/** … for so long: longer than the longest pause of one who waits (`busy.ts`). */
const GAP_MS = 6;

/**
 * Leaves SQLite's file to other processes now and then: nobody queues for its lock, and whoever asks every few milliseconds
 * would hardly ever meet the moment between two transactions of one who has many.
 */
export function leavingGaps(driver: Driver): Driver {
  let since = 0;
  let heldMs = 0;
  const released = () => {
    heldMs += performance.now() - since;
  };
  const [begin, commit, rollback] = [
    driver.beginTransaction.bind(driver),
    driver.commitTransaction.bind(driver),
    driver.rollbackTransaction.bind(driver),
  ];
  driver.beginTransaction = async (...args) => {
    if (heldMs >= HELD_MS) {
      heldMs = 0;
      await Bun.sleep(GAP_MS);
    }
    await begin(...args);
    since = performance.now();
  };
  driver.commitTransaction = (...args) => commit(...args).finally(released);
  driver.rollbackTransaction = (...args) => rollback(...args).finally(released);
  return driver;
}
