import { isJsonObject, type JsonObject } from '../../bus/event.ts';
import type { Api } from '../api.ts';
import { CliError } from '../cli-error.ts';
import { type Check, type Finding, SET_ASIDE_ADVICE } from './check.ts';

const LIMIT_MS = 10_000;
const ADVICE: Readonly<Record<string, string>> = {
  database: 'the node does not reach its database: is it up, is DATABASE_URL right? Its log says more',
  redis: 'the node does not reach its Redis: is it up, is REDIS_URL right? Its log says more',
  tail: 'clients of this node get nothing live; if Redis is well, restart the node',
  relay: 'committed events wait: some node has to relay and reach Redis',
  draining: 'the node is being stopped; ask another one',
};

/** What a node tells about itself, and what it tells administrators. */
export function remoteChecks(api: Api): Check[] {
  return [readyCheck(api), setAsideCheck(api)];
}

function readyCheck(api: Api): Check {
  return {
    name: 'ready',
    // A relay is late for a moment, a tail behind for a moment.
    isFleeting: true,
    async look() {
      const response = await api.fetch('/readyz', { signal: AbortSignal.timeout(LIMIT_MS) });
      const body: unknown = await response.json().catch(() => undefined);
      if (!isJsonObject(body) || !isJsonObject(body.checks)) {
        throw new CliError(
          'unreachable',
          `${api.url}/readyz does not answer as decnet-live does (HTTP ${response.status})`,
        );
      }
      const findings = Object.entries(body.checks).flatMap(([name, check]) =>
        isJsonObject(check) && check.ok !== true ? [notReady(name, check)] : [],
      );
      return { facts: `${String(body.streams)} streams`, findings: [...findings, ...lossesOf(body.bus_socket)] };
    },
  };
}

function notReady(name: string, { ok: _, ...details }: JsonObject): Finding {
  const told = Object.entries(details).map(([key, value]) => `${key} ${String(value)}`);
  return { name, text: [`${name} is not well`, ...told].join(', '), advice: ADVICE[name] ?? "see the node's log" };
}

function lossesOf(stats: unknown): Finding[] {
  if (!isJsonObject(stats)) return [];
  const lost = ['dropped', 'undeliverable', 'lost'].filter((name) => Number(stats[name]) > 0);
  if (lost.length === 0) return [];
  const text = `DECNET's bus socket could not deliver: ${lost.map((name) => `${String(stats[name])} ${name}`).join(', ')}`;
  return [
    {
      name: 'bus-socket',
      text,
      advice: "its protocol cannot repeat them; the node's log says which connection is slow",
    },
  ];
}

function setAsideCheck(api: Api): Check {
  return {
    name: 'set-aside',
    async look() {
      if (api.bearer === '') {
        return {
          facts: '',
          findings: [],
          unknown: ['nobody is signed in: only administrators are told what was set aside'],
        };
      }
      const { total, data } = await api.object('GET', '/outbox/set-aside?limit=3');
      if (Number(total) === 0) return { facts: '0 events', findings: [] };
      const rows = Array.isArray(data) ? data.filter(isJsonObject) : [];
      const shown = rows.map(({ event_id: id, topic, error }) => `${String(id)} (${String(topic)}: ${String(error)})`);
      const text = `${String(total)} committed events could not be published: ${shown.join('; ')}`;
      return { facts: `${String(total)} events`, findings: [{ name: 'set-aside', text, advice: SET_ASIDE_ADVICE }] };
    },
  };
}
