import { AppError, describeError } from '../../errors.ts';
import { CliError } from '../cli-error.ts';
import { command } from '../command.ts';
import { table, writeLines } from '../output.ts';
import { jsonLine } from '../printable.ts';

const ABOUT = `
It is emptied in short transactions; until then its state is "clearing". Works on the Redis and the database that the environment names (DATABASE_URL, REDIS_URL, DECNET_DATA_DIR), beside a plane at work:
whichever of its nodes projects fills the emptied rows again from the beginning of the log. Where the log does not hold its beginning
any more, what it told would be lost: that is refused unless --accept-loss asks for it.`;

export function projectCommand() {
  return command('project', 'show how far the read models are, or rebuild one from the log')
    .option('--rebuild <name>', 'empty this projection and let it be filled again')
    .option('--accept-loss', 'rebuild although the log has dropped some of its history')
    .addHelpText('after', ABOUT)
    .action(async (options) => {
      const plane = await open();
      try {
        const { rebuild: name } = options;
        if (name === undefined) return await show(plane, options.json === true);
        const { rebuild } = await import('../../projection/rebuild.ts');
        const acceptLoss = options.acceptLoss === true;
        const onStep = progress(name);
        const started = await rebuild(plane.db, plane.history, plane.projections, name, { acceptLoss, onStep });
        const told = `${name} is empty; a node that projects fills it again from event ${started.trimmed + 1} of the log on`;
        await writeLines(options.json ? jsonLine(started) : told);
      } catch (error) {
        throw error instanceof AppError ? new CliError('failed', error.message) : error;
      } finally {
        await plane.close();
      }
    });
}

/** Says on standard error that it is at work, before it has taken long. */
function progress(name: string): () => void {
  let [steps, told] = [0, Number.NEGATIVE_INFINITY];
  return () => {
    steps += 1;
    if (performance.now() - told < PROGRESS_MS) return;
    told = performance.now();
    process.stderr.write(
      `${name} is being emptied (${steps} transactions); if this is stopped, a node that projects goes on\n`,
    );
  };
}

const PROGRESS_MS = 2000;

/** Loaded only here: the drivers take longer to load than all the rest of the program. */
async function open() {
  const { openExisting, openRedis, settings } = await import('../doctor/plane.ts');
  const { engineOf } = await import('../../db/database.ts');
  const { EventLog } = await import('../../bus/event-log.ts');
  const { LogHistory } = await import('../../bus/log-history.ts');
  const { allProjections } = await import('../../projection/start.ts');
  const { db: database, bus } = settings(process.env);
  try {
    const redis = await openRedis(bus.redisUrl, bus.dataDir);
    const db = openExisting(database.url);
    return {
      db,
      eventLog: new EventLog(redis, bus),
      history: new LogHistory(redis),
      projections: allProjections(engineOf(database.url)),
      close: async () => {
        redis.disconnect();
        await db.destroy();
      },
    };
  } catch (error) {
    throw new CliError('unreachable', describeError(error));
  }
}

async function show({ db, eventLog, projections }: Awaited<ReturnType<typeof open>>, isJson: boolean): Promise<void> {
  const { lagOf } = await import('../../projection/projections.ts');
  const lags = await lagOf(db, eventLog, projections);
  if (isJson) return writeLines(...lags.map((lag) => jsonLine(lag)));
  const rows = lags.map((lag) => [
    lag.name,
    lag.state,
    ...[lag.events, lag.seconds, lag.counted, lag.skipped, lag.set_aside, lag.gaps].map(String),
  ]);
  const head = ['projection', 'state', 'events behind', 'seconds', 'counted', 'skipped', 'set aside', 'gaps'];
  await writeLines(...table(head, rows));
}
