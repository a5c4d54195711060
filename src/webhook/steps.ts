import { nextTurn } from '../stream/slices.ts';

/** Rows of one statement, so that SQLite holds nobody up. */
export const STEP = 200;

/** Works through what there is, some rows at a time. @returns how many there were */
export async function eachStep<Row>(next: () => Promise<Row[]>, work: (rows: Row[]) => Promise<void>): Promise<number> {
  let count = 0;
  for (;;) {
    const rows = await next();
    if (rows.length === 0) return count;
    await work(rows);
    count += rows.length;
    await nextTurn();
  }
}
