/** The process of those who are no stream clients: they ask for health, sign in and publish while the streams run. */
import { answerCommands } from './child.ts';
import { Latencies } from './latencies.ts';
import type { Latency, VisitCommand, VisitReport } from './protocol.ts';

/** Between two requests of a prober. */
const PAUSE_MS = { health: 20, login: 200 } as const;

/** Asks again and again until the time is over, one request at a time. */
async function repeat(
  ask: () => Promise<Response>,
  pauseMs: number,
  until: number,
): Promise<Latency & { answered: number; refused: number }> {
  const latencies = new Latencies();
  let refused = 0;
  while (performance.now() < until) {
    const startedAt = performance.now();
    const response = await ask();
    await response.arrayBuffer();
    latencies.add(performance.now() - startedAt);
    if (!response.ok) refused += 1;
    if (pauseMs > 0) await Bun.sleep(pauseMs);
  }

  const [p50, p99] = [latencies.percentile(0.5), latencies.percentile(0.99)];
  return { p50, p99, max: latencies.max, answered: latencies.count - refused, refused };
}

async function visit(command: VisitCommand): Promise<VisitReport> {
  const { url, token, topic, seconds, publishes, username, password } = command;
  const until = performance.now() + seconds * 1000;
  const headers = { 'content-type': 'application/json' };
  const login = () =>
    fetch(`${url}/api/v1/auth/login`, { method: 'POST', headers, body: JSON.stringify({ username, password }) });
  const publish = () => {
    const payload = { mutation_id: crypto.randomUUID(), op: 'update_lan' };
    const body = JSON.stringify({ topic, type: 'applied', payload });
    return fetch(`${url}/api/v1/events`, {
      method: 'POST',
      headers: { ...headers, authorization: `Bearer ${token}` },
      body,
    });
  };
  const [health, signIn, publishing] = await Promise.all([
    repeat(() => fetch(`${url}/healthz`), PAUSE_MS.health, until),
    repeat(login, PAUSE_MS.login, until),
    publishes ? repeat(publish, 0, until) : { p50: 0, p99: 0, max: 0, answered: 0, refused: 0 },
  ]);
  const refused = health.refused + signIn.refused + publishing.refused;
  return { health, login: signIn, publish: publishing, published: publishing.answered, refused };
}

answerCommands(visit);
