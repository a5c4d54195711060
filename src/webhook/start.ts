import type { HeaderAuthenticator } from '../auth/guard.ts';
import type { PeerAddress } from '../auth/peer-address.ts';
import type { RateLimits } from '../auth/rate-limit.ts';
import type { Commits } from '../bus/commits.ts';
import { LogHistory } from '../bus/log-history.ts';
import type { RedisConnections } from '../bus/redis.ts';
import { listeners, subscription } from '../bus/subscription.ts';
import { topics } from '../bus/topic.ts';
import type { Config } from '../config.ts';
import type { Db } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import type { Log } from '../telemetry/log.ts';
import { Deliverer } from './deliverer.ts';
import { Dispatcher } from './dispatcher.ts';
import { tidyWebhooks } from './housekeeping.ts';
import { Poster } from './post.ts';
import { Renderer } from './renderer.ts';
import { webhookRoutes } from './routes.ts';
import { SecretBox } from './secret-box.ts';
import { tellUnreadableSecrets } from './secret-check.ts';
import { Sender } from './sender.ts';
import { Subscriptions } from './subscriptions.ts';

export interface WebhookStartParts {
  readonly config: Pick<Config, 'webhook' | 'bus'>;
  readonly db: Db;
  readonly redis: RedisConnections;
  readonly node: string;
  readonly logger: Log;
  readonly commits: Commits;
  readonly auth: {
    readonly authenticator: HeaderAuthenticator;
    readonly limits: Pick<RateLimits, 'createWebhook'>;
    readonly peerAddress: PeerAddress;
  };
}

/** The first pause of a breaker, and the longest. */
const BREAKER = { pauseMs: 30_000, longestPauseMs: 3_600_000 } as const;
const TIDY_MS = 60_000;
/** Another node delivers so long after this one has died, at most. */
const LEASE_MS = 5000;

/** Webhooks: their subscriptions, the consumer of the log that dispatches to them, and the worker that delivers. */
export function startWebhooks(parts: WebhookStartParts) {
  const { db, redis, node, logger, commits, auth } = parts;
  const { webhook, bus } = parts.config;
  const { bounds } = webhook;
  const leaseMs = Math.min(LEASE_MS, bus.leaseMs);
  const { onCommitted } = commits;
  const box = new SecretBox(webhook.keys);
  const target = { allowPrivate: webhook.allowPrivate };
  const poster = new Poster({ totalMs: webhook.timeoutMs, connectMs: webhook.timeoutMs / 2 });
  const renderer = new Renderer();
  const sender = new Sender({ db, poster, box, renderer, target });
  const rules = {
    threshold: webhook.circuitThreshold,
    schedule: webhook.retrySeconds,
    disableAfterMs: webhook.disableAfterMs,
    ...BREAKER,
  };
  const deliverer = new Deliverer({ db, node, leaseMs, sender, rules, bounds, logger, onCommitted });
  const history = new LogHistory(redis.replay[0] ?? redis.commands, () => dispatcher.wake());
  const onDispatched = (receivers: ReadonlySet<string>) => deliverer.wakeLanes(receivers);
  const dispatcher = new Dispatcher({ db, history, node, leaseMs, bounds, logger, onCommitted, onDispatched });
  // Changes that another node made are heard from the log; this one's own wake it at once.
  const changes = subscription(
    [topics.webhookSubscriptionsChanged],
    () => deliverer.wake(),
    () => deliverer.wake(),
  );
  let tidying: Timer | undefined;
  const wake = () => deliverer.wake();
  return {
    routes: webhookRoutes({
      ...{ db, sender, renderer, logger, wake, ...auth },
      subscriptions: new Subscriptions({ db, box, target, history, renderer, onCommitted }),
    }),
    workers: [
      {
        role: 'webhook',
        reportsAs: 'webhook',
        listener: listeners([history, changes], logger),
        start() {
          void tellUnreadableSecrets(db, box, logger);
          dispatcher.start();
          deliverer.start();
          const retention = { deliveredMs: webhook.deliveredMs, deadMs: webhook.deadMs };
          tidying = setInterval(() => {
            if (deliverer.leads) void tidyWebhooks(db, retention, bounds, logger);
          }, TIDY_MS);
        },
        async stop() {
          clearInterval(tidying);
          await Promise.all([dispatcher.stop(), deliverer.stop()]);
          poster.stop();
        },
      },
    ],
    stop: () => renderer.stop(),
  } satisfies Domain;
}
