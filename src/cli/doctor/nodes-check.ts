import type { Redis } from 'ioredis';
import { keys } from '../../bus/keys.ts';
import { TAIL_BLOCK_MS } from '../../bus/redis.ts';
import type { Check, Finding } from './check.ts';

/** The tail asks anew once a second; one that has not for so many seconds does not read. */
const TAIL_IDLE_SECONDS = (10 * TAIL_BLOCK_MS) / 1000;

/** Which nodes live, and whether each reads the log. */
export function nodesCheck(redis: Redis): Check {
  return {
    name: 'nodes',
    isFleeting: true,
    async look() {
      const { live, dead } = await leasesOf(redis);
      const tails = String(await redis.call('CLIENT', 'LIST', 'TYPE', 'normal'))
        .split('\n')
        .filter((line) => line.includes(' name=decnet-tail '));
      const idle = tails.filter((line) => Number(/ idle=(\d+)/.exec(line)?.[1]) > TAIL_IDLE_SECONDS);
      const findings: Finding[] = [];
      if (live.length === 0) {
        const advice = 'start one; where one runs, has it another REDIS_URL?';
        findings.push({ name: 'none', text: 'no node holds a lease: none runs, or none reaches this Redis', advice });
      }
      if (dead.length > 0) {
        const text = `leases have ended and were not cleaned up: ${dead.join(', ')}`;
        findings.push({
          name: 'dead',
          text,
          advice: 'a living node does so within seconds; see its log if it does not',
        });
      }
      if (tails.length < live.length) {
        const text = `${live.length} nodes live, but only ${tails.length} read the log: clients of the others get nothing live`;
        findings.push({
          name: 'tail',
          text,
          advice: 'ask each node for /readyz, and restart the one whose tail is not ok',
        });
      }
      if (idle.length > 0) {
        const text = `${idle.length} nodes have not read the log for more than ${TAIL_IDLE_SECONDS} s`;
        findings.push({
          name: 'tail-idle',
          text,
          advice: 'ask each node for /readyz; is its process stopped or overloaded?',
        });
      }
      return { facts: `${live.length} nodes, ${tails.length} tails`, findings };
    },
  };
}

/** The nodes by their leases, by the clock of Redis. */
export async function leasesOf(redis: Redis): Promise<{ live: string[]; dead: string[] }> {
  const [seconds, micros] = await redis.time();
  const now = Number(seconds) * 1000 + Number(micros) / 1000;
  const found = await redis.zrangebyscore(keys.nodes, '-inf', '+inf', 'WITHSCORES');
  const [live, dead]: [string[], string[]] = [[], []];
  for (let index = 0; index + 1 < found.length; index += 2) {
    (Number(found[index + 1]) > now ? live : dead).push(found[index] ?? '');
  }
  return { live, dead };
}
