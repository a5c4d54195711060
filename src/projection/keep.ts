import type { RosterName } from './roster.ts';

/** What is kept of read models. */
export interface Keep {
  /** Rows of each kind. */
  readonly rows: Limits;
  /** Age at which rows go that tell of one moment (lines, commands, actions), in milliseconds; 0: as long as there are not too many. */
  readonly maxAgeMs: number;
}

/** Rows that tell of one moment each, and what others go on changing. */
export type KeptKind = 'lines' | 'commands' | 'actions' | 'emails' | RosterName;

export type Limits = Readonly<Record<KeptKind, number>>;

/** What an operator chooses; the other limits follow. */
export interface ChosenLimits {
  readonly lines: number;
  readonly commands: number;
  readonly actions: number;
  readonly attackers: number;
  readonly identities: number;
  readonly campaigns: number;
}

export const DEFAULT_LIMITS: ChosenLimits = {
  lines: 1_000_000,
  commands: 1_000_000,
  actions: 100_000,
  attackers: 100_000,
  identities: 100_000,
  campaigns: 10_000,
};

/** All limits. Attackers have a name or two each; what identities and campaigns are made of is no more than there are of these. */
export function limitsOf({ lines, commands, actions, attackers, identities, campaigns }: ChosenLimits): Limits {
  return {
    ...{ lines, commands, actions, emails: actions, attackers, identities, campaigns },
    attacker_uuids: attackers * 2,
    linked: attackers * 2,
    attributed: identities,
    members: identities,
  };
}
