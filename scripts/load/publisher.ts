/** The process that publishes at a steady rate straight into Redis, as the server's own producers do. */

import { createEvent, newEventId } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { connected, connectRedis } from '../../src/bus/redis.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { answerCommands } from './child.ts';
import { type PublisherCommand, type PublisherReport, preciseNow } from './protocol.ts';

const IDEMPOTENCY_MS = 600_000;
/** Events that one call of the publish script takes. */
const MOST_AT_ONCE = 100;
/** Calls without an answer yet; beyond it Redis is behind and more would only wait there. */
const MOST_UNANSWERED = 32;
const PAUSE_MS = 1;
const READY_MS = 10_000;

/** Publishes `rate` events in each second; falls behind rather than piling them up. */
async function publish({ redis, maxEvents, topic, rate, seconds }: PublisherCommand): Promise<PublisherReport> {
  const connections = connectRedis(redis, createLog('error'));
  await connected(connections.commands, READY_MS);
  const log = new EventLog(connections.commands, { maxEvents, idempotencyMs: IDEMPOTENCY_MS });
  const total = Math.round(rate * seconds);
  const unanswered = new Set<Promise<unknown>>();
  const startedAt = performance.now();
  let published = 0;
  try {
    while (published < total && performance.now() - startedAt < seconds * 1500) {
      const due = Math.min(total, Math.floor(((performance.now() - startedAt) * rate) / 1000) + 1) - published;
      if (due <= 0 || unanswered.size >= MOST_UNANSWERED) {
        await Bun.sleep(PAUSE_MS);
        continue;
      }
      const events = Array.from({ length: Math.min(due, MOST_AT_ONCE) }, () => makeEvent(topic));
      const call = log.publish(events).finally(() => unanswered.delete(call));
      unanswered.add(call);
      published += events.length;
    }
    await Promise.all(unanswered);
  } finally {
    connections.close();
  }
  return { published, spanMs: performance.now() - startedAt };
}

const LINE_TOPIC = 'system.log';
let lines = 0;

/** As DECNET's collector tells a line: of 2,000 addresses, at 40 deckies. */
function makeLine() {
  lines += 1;
  const at = preciseNow();
  const [decky, service] = [`decky-${lines % 40}`, ['ssh', 'http', 'smb', 'ftp'][lines % 4] ?? 'ssh'];
  const attacker_ip = `198.51.${100 + (lines % 8)}.${(lines * 31) % 250}`;
  const payload = {
    ...{ decky, service, attacker_ip, event_type: 'login_attempt', timestamp: new Date(at).toISOString() },
    raw_line: `<134>1 ${decky} ${service}d - login_attempt [src="${attacker_ip}" user="root"] password p${lines}`,
    fields: { username: 'root', password: `p${lines}`, command: 'uname -a' },
    msg: 'refused',
  };
  return { event: createEvent(LINE_TOPIC, 'login_attempt', payload, newEventId(), at) };
}

/** As the mutator makes it, where it is no line. */
function makeEvent(topic: string) {
  if (topic === LINE_TOPIC) return makeLine();
  const payload = { mutation_id: crypto.randomUUID(), op: 'update_lan' };
  return { event: createEvent(topic, 'applied', payload, newEventId(), preciseNow()) };
}

answerCommands(publish);
