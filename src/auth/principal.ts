/** Contract §4.2. */
export const ROLES = ['admin', 'viewer'] as const;
export type Role = (typeof ROLES)[number];

/** What a service account, or a peer of the bus socket, was given: patterns of topics. The table of rights may say less. */
export interface Grants {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
  /** That the patterns reach `system.*.control`, too. */
  readonly control: boolean;
}

/** Who a request or a stream acts for: the session that its token names, with the rights that the database gives it now. */
export type Principal = UserPrincipal | AccountPrincipal;

export interface UserPrincipal extends SessionOwner {
  /** Of the database row. */
  readonly role: Role;
}

/** A service account. */
export interface AccountPrincipal extends SessionOwner {
  readonly role: 'account';
  readonly grants: Grants;
}

interface SessionOwner {
  /** Of the user or the service account. */
  readonly userUuid: string;
  readonly username: string;
  /** The token's id: the login session; of a service account, which of its secrets and which version of its rights. */
  readonly jti: string;
  /** Seconds since the epoch. */
  readonly issuedAt: number;
  /** Milliseconds since the epoch, {@link NEVER} for what does not end by itself; an open stream ends then. */
  readonly expiresAt: number;
  /** Of the user's credentials at the login, see `Session`. */
  readonly generation?: number | undefined;
}

/** The last moment that a `Date` can name. */
export const NEVER = 8.64e15;
