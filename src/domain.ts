import type { AnyElysia } from 'elysia';
import type { TailListener } from './bus/tail.ts';
import type { Checks, Counts } from './health/routes.ts';
import type { ProcessRole, ProcessRoles } from './roles.ts';
import type { StreamDeclaration } from './stream/declaration.ts';

/**
 * What one domain brings to a process: what its `start…(parts)` returns, which makes everything and starts nothing that
 * {@link stop} does not end. All but {@link workers} and {@link stop} is used where the API is served.
 */
export interface Domain {
  /** Below `/api/v1`. Functions that return a domain keep the type of their routes: clients are typed by it. */
  readonly routes?: AnyElysia;
  readonly streams?: readonly StreamDeclaration[];
  /** Hear the log. */
  readonly listeners?: readonly TailListener[];
  /** Work in the background, in processes of the role. */
  readonly workers?: readonly RoleWorker[];
  /** For `/readyz`, by their names there. */
  readonly checks?: Checks;
  /** Shown by `/readyz` beside the checks. */
  readonly counts?: Counts;
  /** Ends what clients hold open: no new ones come any more. Not waited for. */
  drain?(): void;
  /** Ends what has begun without a worker, after all workers. */
  stop?(): unknown;
}

/** Work in the background. */
export interface RoleWorker {
  /** It runs in processes of this role only. */
  readonly role: ProcessRole;
  /** Hears the log while it runs. */
  readonly listener?: TailListener;
  readonly checks?: Checks;
  readonly counts?: Counts;
  /** The worker of contract §8 that it is to the outside, which has heartbeats and can be told to stop. */
  readonly reportsAs?: string;
  start(): unknown;
  stop(): unknown;
}

/** What of some domains runs in a process. */
export interface Running {
  readonly workers: readonly RoleWorker[];
  readonly listeners: readonly TailListener[];
  readonly checks: Checks;
  readonly counts: Counts;
  /** Ends what clients hold open. */
  drain(): void;
}

/** @param roles of the process */
export function runningOf(domains: readonly Domain[], roles: ProcessRoles): Running {
  const served = roles.has('api') ? domains : [];
  const workers = domains.flatMap((domain) => domain.workers ?? []).filter(({ role }) => roles.has(role));
  const counts = [...served, ...workers].flatMap((part) => part.counts ?? []);
  return {
    workers,
    listeners: [
      ...served.flatMap((domain) => domain.listeners ?? []),
      ...workers.flatMap((worker) => worker.listener ?? []),
    ],
    checks: Object.assign({}, ...[...served, ...workers].map((part) => part.checks)),
    counts: () => Object.assign({}, ...counts.map((count) => count())),
    drain: () => {
      for (const domain of served) domain.drain?.();
    },
  };
}

type RoutesOf<Domains extends readonly Domain[]> = Domains extends readonly [
  infer First,
  ...infer Rest extends readonly Domain[],
]
  ? First extends { readonly routes: infer Routes extends AnyElysia }
    ? [Routes, ...RoutesOf<Rest>]
    : RoutesOf<Rest>
  : [];

/** The routes of all domains that have some, for `use` of Elysia, which keeps their types. */
export function routesOf<const Domains extends readonly Domain[]>(domains: Domains): RoutesOf<Domains>;
export function routesOf(domains: readonly Domain[]): AnyElysia[] {
  return domains.flatMap(({ routes }) => routes ?? []);
}
