/** Contract §4.2. */
export const ROLES = ['admin', 'viewer'] as const;
export type Role = (typeof ROLES)[number];

/** Who a request or a stream acts for: the session that its token names, with the role of the database row. */
export interface Principal {
  readonly userUuid: string;
  readonly username: string;
  readonly role: Role;
  /** The token's id: the login session. */
  readonly jti: string;
  /** Seconds since the epoch. */
  readonly issuedAt: number;
  /** Milliseconds since the epoch; an open stream ends then. */
  readonly expiresAt: number;
  /** Of the user's credentials at the login, see `Session`. */
  readonly generation?: number | undefined;
}
