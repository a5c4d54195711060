/** Preloaded into the measured server: lets the bench ask for what memory is really in use. */
process.on('SIGUSR2', () => {
  Bun.gc(true);
  Bun.shrink();
});
