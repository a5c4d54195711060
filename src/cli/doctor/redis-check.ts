import type { Redis } from 'ioredis';
import { describeError } from '../../errors.ts';
import type { Check, Finding } from './check.ts';

const OLDEST = [7, 0] as const;
/** Share of what there is that may be used before it is worth a word. */
const MOST_MEMORY = 0.8;

/** Version, role, persistence, eviction and memory of the server that holds the log. */
export function redisCheck(redis: Redis): Check {
  return {
    name: 'redis',
    async look() {
      const info = infoOf(await redis.info());
      const config = await configOf(redis);
      const text = (name: string) => info.get(name) ?? '';
      const fsync = config?.get('appendfsync');
      const policy = text('maxmemory_policy') || config?.get('maxmemory-policy') || '';
      const facts = `${text('redis_version')}, appendonly ${text('aof_enabled') === '1' ? 'yes' : 'no'}, appendfsync ${fsync ?? '?'}, ${policy}, ${text('used_memory_human')} used`;
      const findings = [
        ...versionFindings(text('redis_version')),
        ...roleFindings(text('role')),
        ...persistenceFindings(info, fsync),
        ...evictionFindings(info, policy),
        ...memoryFindings(info),
      ];
      const unknown = config === undefined ? ['appendfsync: this server does not allow CONFIG GET'] : [];
      return { facts, findings, unknown };
    },
  };
}

function versionFindings(version: string): Finding[] {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return [];
  return [finding('version', `Redis is ${version}`, `use Redis ${OLDEST.join('.')} or newer`)];
}

function roleFindings(role: string): Finding[] {
  if (role === 'master') return [];
  return [finding('role', `this server is a ${role}: it takes no events`, 'let REDIS_URL name the primary')];
}

function persistenceFindings(info: ReadonlyMap<string, string>, fsync: string | undefined): Finding[] {
  const findings: Finding[] = [];
  if (info.get('aof_enabled') !== '1') {
    const advice = "set 'appendonly yes' and 'appendfsync always' in redis.conf";
    findings.push(finding('appendonly', 'nothing is written to disk: a restart loses the log', advice));
  } else if (fsync !== undefined && fsync !== 'always') {
    const text = `appendfsync is ${fsync}: a crash loses events that were acknowledged`;
    findings.push(finding('appendfsync', text, "set 'appendfsync always' in redis.conf, or accept that loss"));
  }
  for (const name of ['aof_last_write_status', 'aof_last_bgrewrite_status']) {
    if ((info.get(name) ?? 'ok') !== 'ok') {
      findings.push(finding(name, `${name} is ${info.get(name)}`, "see Redis' log; is the disk full?"));
    }
  }
  return findings;
}

function evictionFindings(info: ReadonlyMap<string, string>, policy: string): Finding[] {
  const findings: Finding[] = [];
  if (policy !== 'noeviction') {
    const text = `the eviction policy is ${policy}: with its memory full Redis deletes channels`;
    findings.push(finding('eviction', text, "set 'maxmemory-policy noeviction'"));
  }
  const evicted = Number(info.get('evicted_keys') ?? 0);
  if (evicted > 0) {
    const advice = 'give Redis more memory, or let the log keep less (DECNET_LOG_MAX_BYTES); see what contiguity says';
    findings.push(finding('evicted', `${evicted} keys have been evicted since it started`, advice));
  }
  return findings;
}

function memoryFindings(info: ReadonlyMap<string, string>): Finding[] {
  const number = (name: string) => Number(info.get(name) ?? 0);
  const limit = number('maxmemory') || number('total_system_memory');
  const used = number('used_memory');
  if (limit === 0 || used <= limit * MOST_MEMORY) return [];
  const text = `${Math.round((100 * used) / limit)} % of ${Math.round(limit / 1024 ** 2)} MiB are used; when it is full nothing is published`;
  return [finding('memory', text, 'give Redis more memory, or let the log keep less (DECNET_LOG_MAX_BYTES)')];
}

function infoOf(text: string): Map<string, string> {
  const lines = text.split('\r\n').filter((line) => line.includes(':'));
  return new Map(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]));
}

/** `undefined` where a hosted server refuses to tell its settings. */
async function configOf(redis: Redis): Promise<Map<string, string> | undefined> {
  try {
    const answer: unknown = await redis.call('CONFIG', 'GET', 'appendfsync');
    const words = Array.isArray(answer) ? answer.map(String) : [];
    return words.length < 2 ? undefined : new Map([[words[0] ?? '', words[1] ?? '']]);
  } catch (error) {
    if (/unknown command|NOPERM|not allowed/i.test(describeError(error))) return undefined;
    throw error;
  }
}

function finding(name: string, text: string, advice: string): Finding {
  return { name, text, advice };
}
