import type { Tally } from './client.ts';

/** What a storm has done and seen. */
export interface Report {
  readonly seconds: number;
  readonly rounds: number;
  /** Kind → how long it took after each until every client was current again, in milliseconds. */
  readonly faults: ReadonlyMap<string, readonly number[]>;
  readonly events: {
    readonly published: number;
    readonly acknowledged: number;
    readonly mutations: number;
    readonly identities: number;
    /** Sent to bus sockets, and lost there with the node. */
    readonly bus: number;
    readonly busLost: number;
  };
  readonly tally: Tally;
  readonly violations: readonly string[];
}

/** One line: that it goes on. */
export function progress({ seconds, rounds, faults, events, tally, violations }: Report): string {
  return [
    `${Math.round(seconds)} s, ${rounds} rounds: ${timesOf(faults)} faults`,
    `${events.acknowledged} events acknowledged, ${events.mutations} mutations`,
    `${tally.frames} frames, ${tally.resumes} resumes (${tally.moves} by another way), ${sumOf(tally.resets.values())} resets`,
    `${violations.length} violations`,
  ].join('; ');
}

/** Everything, as Markdown. */
export function summary(report: Report): string {
  const { faults, events, tally, violations } = report;
  const recoveries = [...faults.values()].flat();
  const rows = [...faults]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(
      ([kind, times]) => `| ${kind} | ${times.length} | ${seconds(median(times))} | ${seconds(Math.max(...times))} |`,
    );
  const resets = [...tally.resets].map(([reason, times]) => `${times} ${reasonOf(reason)}`).join(', ');
  return [
    `| fault | times | recovered after, median s | at most, s |\n| --- | ---: | ---: | ---: |`,
    ...rows,
    `| **all** | ${recoveries.length} | ${seconds(median(recoveries))} | ${seconds(Math.max(0, ...recoveries))} |`,
    '',
    `${Math.round(report.seconds)} s in ${report.rounds} rounds. ${events.published} events published, ${events.acknowledged} acknowledged; ${events.bus} sent to bus sockets, ${events.busLost} lost there with their node;`,
    `${events.mutations} mutations and ${events.identities} changes of identities. ${tally.frames} frames delivered, ${tally.resumes} resumes (${tally.moves} by another way),`,
    `${sumOf(tally.resets.values())} resets (${resets || 'none'}). ${violations.length} violations.`,
    ...violations.map((violation) => `- ${violation}`),
  ].join('\n');
}

function reasonOf(data: string): string {
  return String(JSON.parse(data).reason);
}

function timesOf(faults: Report['faults']): number {
  return sumOf([...faults.values()].map((times) => times.length));
}

function sumOf(numbers: Iterable<number>): number {
  return [...numbers].reduce((sum, number) => sum + number, 0);
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(2);
}
