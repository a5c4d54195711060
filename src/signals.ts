/**
 * `bun run` passes a signal on that its child, being of the same process group, also got from the terminal: two signals
 * so close together are one wish to stop.
 */
const SAME_SIGNAL_MS = 500;

/**
 * SIGINT and SIGTERM stop everything in good order and end the process; a second one, from somebody who will not wait,
 * ends it at once.
 * @param onFailure called when stopping fails; must end the process
 */
export function stopOnSignals(stop: () => Promise<void>, onFailure: (error: unknown) => never): void {
  let stoppingSince: number | undefined;
  const onSignal = () => {
    if (stoppingSince !== undefined) {
      if (performance.now() - stoppingSince > SAME_SIGNAL_MS) process.exit(1);
      return;
    }
    stoppingSince = performance.now();
    stop().then(() => process.exit(0), onFailure);
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
}
