import { describeError } from '../errors.ts';
import type { WorkerName, WorkerRow } from './registry.ts';
import type { Supervisor } from './supervisor.ts';

/** What others need comes first (contract §8); whoever is not listed comes after. */
const ORDER: readonly WorkerName[] = [
  'bus',
  'api',
  'collector',
  'profiler',
  'sniffer',
  'prober',
  'mutator',
  'reconciler',
  'reuse-correlator',
  'attribution',
  'enrich',
  'clusterer',
  'campaign-clusterer',
  'webhook',
  'orchestrator',
];
/** Somebody waits for the answer. */
const LIMIT_MS = 60_000;

/**
 * Starts every worker that can be started and does not run, one after the other. One that fails costs the others nothing.
 * @param supervisor `undefined` where none is configured: nobody is started
 */
export async function startAll(
  supervisor: Pick<Supervisor, 'canStart' | 'start'> | undefined,
  workers: readonly Pick<WorkerRow, 'name' | 'status'>[],
  limitMs = LIMIT_MS,
) {
  const started: WorkerName[] = [];
  const already_running: WorkerName[] = [];
  const failed: { name: WorkerName; reason: string }[] = [];
  const place = (name: WorkerName) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  const givenUpAt = performance.now() + limitMs;
  for (const { name, status } of workers.toSorted((one, other) => place(one.name) - place(other.name))) {
    if (!supervisor?.canStart(name)) continue;
    if (status === 'ok') already_running.push(name);
    else if (performance.now() > givenUpAt) failed.push({ name, reason: 'the others took too long; try again' });
    else {
      await supervisor.start(name).then(
        () => started.push(name),
        (error) => failed.push({ name, reason: describeError(error) }),
      );
    }
  }
  return { started, already_running, failed };
}
