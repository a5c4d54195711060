import { describeError } from '../../errors.ts';
import { redact } from '../../telemetry/log.ts';

/** Something that is not as it should be, and what to do about it. */
export interface Finding {
  /** What is wrong, short and fixed, for scripts. */
  readonly name: string;
  readonly text: string;
  readonly advice: string;
}

/** What a check saw. */
export interface Seen {
  /** In short, for people: what was looked at. */
  readonly facts: string;
  readonly findings: readonly Finding[];
  /** What it could not look at. */
  readonly unknown?: readonly string[];
}

/** One thing that is examined. It changes nothing. */
export interface Check {
  readonly name: string;
  look(): Promise<Seen>;
  /** True where two looks at a plane at work may differ by what happens in between: what is wrong is looked at again. */
  readonly isFleeting?: boolean;
}

export interface Result extends Seen {
  readonly check: string;
  readonly status: 'ok' | 'findings' | 'unknown';
  readonly unknown: readonly string[];
}

/** What to do about events that were set aside. */
export const SET_ASIDE_ADVICE =
  'look at GET /api/v1/outbox/set-aside, then POST …/{id}/retry to publish one after all, or DELETE …/{id} to give it up';

/** Longer than a change of leader takes, or the end of a connection. */
const SECOND_LOOK_MS = 2000;

/** Runs a check; one that cannot look says so and keeps no other from it. */
export async function examine(check: Check): Promise<Result> {
  try {
    let seen = await check.look();
    if (check.isFleeting && seen.findings.length > 0) {
      await Bun.sleep(SECOND_LOOK_MS);
      seen = await check.look();
    }
    return result(check.name, seen);
  } catch (error) {
    return result(check.name, { facts: '', findings: [], unknown: [redact(describeError(error))] });
  }
}

function result(check: string, { facts, findings, unknown = [] }: Seen): Result {
  const status = unknown.length > 0 ? 'unknown' : findings.length > 0 ? 'findings' : 'ok';
  return { check, status, facts, findings, unknown };
}
