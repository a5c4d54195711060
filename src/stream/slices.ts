/** How long a walk may hold up everything else at a time. */
const SLICE_MS = 2;
/** Items between two looks at the clock. */
const PORTION = 16;

/** A turn of the event loop: sockets are looked at, timers fire. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Visits all items, a few milliseconds at a time; the first ones before it returns. */
export async function inSlices<Item>(items: Iterable<Item>, visit: (item: Item) => void): Promise<void> {
  let end = performance.now() + SLICE_MS;
  let count = 0;
  for (const item of items) {
    visit(item);
    count += 1;
    if (count % PORTION !== 0 || performance.now() < end) continue;
    await nextTurn();
    end = performance.now() + SLICE_MS;
  }
}
