import type { Config } from '../config.ts';
import type { LogFields, LogLevel } from '../telemetry/log.ts';

/** What the parent says. */
export type ToBackground =
  | { readonly kind: 'start'; readonly config: Config }
  /** Answered by `pong` while the child's event loop turns. */
  | { readonly kind: 'ping' }
  | { readonly kind: 'stop' };

/** What the child says. */
export type FromBackground =
  | { readonly kind: 'ready' }
  | { readonly kind: 'pong' }
  /** A line for the log of the parent, which knows where it goes and how it looks. */
  | { readonly kind: 'log'; readonly level: LogLevel; readonly message: string; readonly fields: LogFields };
