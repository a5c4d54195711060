import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { attackSession, campaignGrows, orchestratorActs } from './attack-acts.ts';
import { attackerEnriched, attackerProbed, attributionChanges, fileCaptured, mailReceived } from './evidence-acts.ts';
import { formIdentity, linkObservation } from './identity-acts.ts';
import { attackerBehaviour, attackerObserved, attackerScored, deckyTraffic, fleetStates } from './sensor-acts.ts';
import { changeServices, mutateTopology } from './topology-acts.ts';
import { type DemoAct, type DemoWorld, pick } from './world.ts';

export interface DemoTrafficOptions extends Omit<DemoWorld, 'random'> {
  readonly logger: Log;
  /** Milliseconds from the end of one act to the next. */
  readonly intervalMs: number;
  /** Chooses what happens; `Math.random` by default. */
  readonly random?: () => number;
}

/** The source of demonstration events while it runs. */
export interface DemoTraffic {
  /** Ends it after the act under way, if any; safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Makes something happen now and then, so that there is something to watch. Acts never overlap, one that fails is logged
 * and the next one comes, and what they leave in the database is bounded.
 */
export function startDemoTraffic({
  logger,
  intervalMs,
  random = Math.random,
  ...parts
}: DemoTrafficOptions): DemoTraffic {
  const world: DemoWorld = {
    db: parts.db,
    publish: (event) => parts.publish(event),
    onCommitted: () => parts.onCommitted(),
    random,
  };
  const acts = repertoire();
  let stopped = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let underWay: Promise<void> | undefined;

  const actOnce = async () => {
    try {
      await pick(world, acts)?.(world);
    } catch (error) {
      logger.warn('a demonstration act failed', { error: describeError(error) });
    }
    if (!stopped) schedule();
  };
  const schedule = () => {
    timer = setTimeout(() => {
      underWay = actOnce();
    }, intervalMs);
  };

  schedule();
  return {
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await underWay;
    },
  };
}

/** Every act, the more often the likelier. */
function repertoire(): DemoAct[] {
  return [
    // What the page opens with: a newcomer sees something within seconds.
    ...Array.from({ length: 6 }, () => mutateTopology),
    ...[changeServices, changeServices],
    ...[fleetStates(), deckyTraffic, deckyTraffic],
    ...[linkObservation, linkObservation, formIdentity],
    ...[attackSession, attackSession, attackSession, campaignGrows, orchestratorActs, orchestratorActs],
    ...[attackerObserved, attackerScored, attackerBehaviour, attackerBehaviour],
    ...[attackerProbed, attackerProbed, attackerEnriched, fileCaptured, mailReceived, attributionChanges],
  ];
}
