import type { Redis } from 'ioredis';
import { keys } from '../../bus/keys.ts';
import { script } from '../../bus/script.ts';
import { keysLike } from './channels.ts';
import type { Check, Finding } from './check.ts';
import countSource from './group-count.lua' with { type: 'text' };
import { leasesOf } from './nodes-check.ts';

const countScript = script(countSource);

/** Naming the groups of a stream takes Redis 5 µs for each, in one go. */
const MOST_GROUPS = 2000;
const SHOWN = 5;

interface Found {
  readonly stream: string;
  readonly group: string;
}

/** Consumer groups that no living node knows: nobody will destroy them. */
export function groupsCheck(redis: Redis): Check {
  return {
    name: 'groups',
    isFleeting: true,
    async look() {
      const { live } = await leasesOf(redis);
      const [orphans, unknown]: [Found[], string[]] = [[], []];
      let count = 0;
      for await (const stream of keysLike(redis, keys.allStreams)) {
        const groups = Number(await countScript.run(redis, [stream], []));
        count += groups;
        if (groups > MOST_GROUPS)
          unknown.push(`${stream} has ${groups} groups, too many to name without holding up Redis`);
        else if (groups > 0) orphans.push(...(await orphansOf(redis, stream, live)));
      }
      const findings: Finding[] = orphans.slice(0, SHOWN).map(({ stream, group }) => ({
        name: 'orphan',
        text: `the group ${group} on ${stream} belongs to no node that lives`,
        advice: `XGROUP DESTROY '${stream}' '${group}'`,
      }));
      if (orphans.length > SHOWN) {
        const text = `… and ${orphans.length - SHOWN} more groups without a node`;
        findings.push({ name: 'orphan', text, advice: 'destroy them as well' });
      }
      return { facts: `${count} groups`, findings, unknown };
    },
  };
}

async function orphansOf(redis: Redis, stream: string, live: readonly string[]): Promise<Found[]> {
  const orphans: Found[] = [];
  for (const group of await groupsOf(redis, stream)) {
    // sse:<node>:<connection>; groups of another kind are not a connection's.
    const node = /^sse:([^:]+):/.exec(group)?.[1];
    if (node === undefined) continue;
    const member = `${group} ${stream.slice(keys.stream('').length)}`;
    const isKnown = live.includes(node) && (await redis.sismember(keys.groups(node), member)) === 1;
    if (!isKnown) orphans.push({ stream, group });
  }
  return orphans;
}

async function groupsOf(redis: Redis, stream: string): Promise<string[]> {
  const answer: unknown = await redis.xinfo('GROUPS', stream).catch(() => []);
  if (!Array.isArray(answer)) return [];
  return answer.map((group: unknown) => (Array.isArray(group) ? String(group[group.indexOf('name') + 1]) : ''));
}
