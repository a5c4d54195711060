import { type AnyElysia, Elysia } from 'elysia';
import type { Config } from './config.ts';
import type { Running } from './domain.ts';
import { healthRoutes } from './health/routes.ts';
import { errorHandling } from './http/errors.ts';
import { MAX_BODY_BYTES } from './http/limits.ts';
import { methodsOf } from './http/methods.ts';
import { requestRules } from './http/request-rules.ts';
import type { Log } from './telemetry/log.ts';
import { websocketOptions } from './ws/ws-routes.ts';

export interface HttpServerParts {
  readonly config: Pick<Config, 'http' | 'developer'>;
  readonly logger: Log;
  readonly running: Pick<Running, 'checks' | 'counts' | 'drain'>;
  /** What is served beside the probes. */
  readonly routes: readonly AnyElysia[];
}

/** A request under way may take so long to finish when the server stops. */
const STOP_GRACE_MS = 5000;

/** Serves the probes, and the routes that this process has. */
export function startHttpServer({ config, logger, running, routes }: HttpServerParts) {
  const app = new Elysia({
    // Two processes on one port would share it silently.
    serve: { reusePort: false, maxRequestBodySize: MAX_BODY_BYTES, development: false },
    websocket: websocketOptions(MAX_BODY_BYTES),
  });
  app
    .use(requestRules(config.http.corsOrigins))
    .use(errorHandling(logger, { developer: config.developer, methodsOf: (path) => methodsOf(app, path) }))
    .use(healthRoutes({ ...running, logger }))
    .use([...routes]);
  app.listen({ hostname: config.http.host, port: config.http.port });
  return {
    url: `http://${config.http.host}:${app.server?.port}`,
    routes: app.routes,
    /** Refuses new connections, ends the streams, and lets requests under way finish. */
    async stop(): Promise<void> {
      // Bun's own server: Elysia's stop() cannot be asked a second time, to insist.
      const { server } = app;
      const stopped = server?.stop(false);
      running.drain();
      await Promise.race([stopped, Bun.sleep(STOP_GRACE_MS)]);
      await server?.stop(true);
    },
  };
}
