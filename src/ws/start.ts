import type { Authenticator } from '../auth/authenticator.ts';
import type { StreamAuthenticator } from '../auth/stream-auth.ts';
import type { EventLog } from '../bus/event-log.ts';
import type { Config } from '../config.ts';
import type { Domain } from '../domain.ts';
import { MAX_BODY_BYTES } from '../http/limits.ts';
import type { StreamDeclaration } from '../stream/declaration.ts';
import type { Streams } from '../stream/streams.ts';
import type { Log } from '../telemetry/log.ts';
import { WsSockets, wsRoutes } from './ws-routes.ts';

export interface WsStartParts {
  readonly config: Pick<Config, 'http' | 'stream' | 'ws'>;
  readonly logger: Log;
  readonly eventLog: EventLog;
  readonly streams: Streams;
  readonly authenticator: Authenticator;
  readonly streamAuthenticator: StreamAuthenticator;
  /** Of all domains. */
  readonly declarations: readonly StreamDeclaration[];
}

/** The WebSocket bridge: every declared stream, and a way in for events. */
export function startWs(parts: WsStartParts) {
  const { config, logger, eventLog, streams, authenticator, streamAuthenticator, declarations } = parts;
  const { retryMs, keepaliveMs } = config.stream;
  const sockets = new WsSockets({
    streams,
    declarations,
    authenticator: {
      authenticateStream: (request) => streamAuthenticator.authenticateStream(request),
      authenticateToken: (token) => authenticator.authenticateToken(token),
      stillValid: (principal, gate) => authenticator.stillValid(principal, gate),
    },
    eventLog,
    logger,
    limits: { maxMessageBytes: MAX_BODY_BYTES, maxInFlightBytes: 2 * MAX_BODY_BYTES, authMs: config.ws.authMs },
    retryMs,
  });
  const drain = () => void sockets.drain();
  return {
    routes: wsRoutes(sockets, config.http.corsOrigins),
    workers: [{ role: 'api', start: () => sockets.start(keepaliveMs), stop: drain }],
    drain,
  } satisfies Domain;
}
