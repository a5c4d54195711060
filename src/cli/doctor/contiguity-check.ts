import type { Redis } from 'ioredis';
import { entryId } from '../../bus/entry.ts';
import { keys } from '../../bus/keys.ts';
import { asList, script } from '../../bus/script.ts';
import { channelsOf, keysLike, pause } from './channels.ts';
import type { Check, Finding } from './check.ts';
import portionSource from './portion.lua' with { type: 'text' };

const portionScript = script(portionSource);

/** What one call looks at: a millisecond or two of Redis. */
const PORTION = { entries: 150, bytes: 256 * 1024 } as const;
/** Findings that are told of one channel; it needs no more to be looked at. */
const MOST_FINDINGS = 5;

interface Link {
  readonly entry: string;
  readonly offset: number;
  readonly before: string;
  readonly proof: string;
  readonly event: string;
}

interface Head {
  readonly offset: number;
  readonly proof: string;
}

/** Walks every channel: its events are numbered without a hole, each proves those before it, and the last is the one counted. */
export function contiguityCheck(redis: Redis): Check {
  return {
    name: 'contiguity',
    async look() {
      const findings: Finding[] = [];
      let [channels, events] = [0, 0];
      const known = new Set<string>();
      for await (const channel of channelsOf(redis)) {
        known.add(keys.stream(channel));
        let walk = await walked(redis, channel);
        // What is found may be a channel that was forgotten, or a log that was replaced, while we walked: then it is so no more.
        if (walk.findings.length > 0) walk = await walked(redis, channel);
        findings.push(...walk.findings);
        channels += 1;
        events += walk.events;
      }
      for await (const stream of keysLike(redis, keys.allStreams)) {
        if (known.has(stream) || !(await isUncounted(redis, stream))) continue;
        const advice = `nothing of ours reads it; whoever wrote it has to. UNLINK '${stream}' when nobody knows it`;
        findings.push({ name: 'uncounted', text: `there is a stream ${stream} whose events nobody counts`, advice });
      }
      return { facts: `${events} events in ${channels} channels`, findings };
    },
  };
}

async function walked(redis: Redis, channel: string): Promise<Walk> {
  const walk = new Walk(redis, channel);
  await walk.run();
  return walk;
}

/** The walk over one channel. The plane goes on meanwhile: what is published is added behind, what is trimmed goes in front. */
class Walk {
  readonly findings: Finding[] = [];
  events = 0;
  readonly #redis: Redis;
  readonly #channel: string;
  readonly #stream: string;
  #last: Link | undefined;

  constructor(redis: Redis, channel: string) {
    this.#redis = redis;
    this.#channel = channel;
    this.#stream = keys.stream(channel);
  }

  async run(): Promise<void> {
    const head = await this.#head();
    for (let from = '-'; ; from = `(${this.#last?.entry}`) {
      const links = await this.#portion(from);
      for (const link of links) {
        await this.#follow(link);
        if (link.offset === head.offset) this.#compare(link, head);
        this.#last = link;
        this.events += 1;
        if (this.findings.length >= MOST_FINDINGS) return;
      }
      const { offset = 0 } = this.#last ?? {};
      if (links.length === 0 || offset >= head.offset) return this.#end(head);
      await pause();
    }
  }

  async #follow(link: Link): Promise<void> {
    const last = this.#last;
    if (link.entry !== entryId(link.offset))
      this.#find('foreign', `${link.entry} is no entry of this log`, 'somebody else writes into this stream: find who');
    if (link.proof !== proofOf(link.before, link.event)) {
      this.#find('changed', `event ${link.offset} is not the one that its proof stands for`, RESET);
    }
    if (last === undefined) return;
    if (link.offset !== last.offset + 1) {
      const first = (await this.#portion('-', 1))[0];
      // Trimmed while we walked: that is no hole.
      if (first === undefined || first.offset > last.offset) return;
      const range =
        link.offset - 1 > last.offset + 1 ? `${last.offset + 1} to ${link.offset - 1}` : `${last.offset + 1}`;
      this.#find(
        'hole',
        `${range} missing: somebody has deleted entries (XDEL)`,
        trimAdvice(this.#stream, link.offset),
      );
    } else if (link.before !== last.proof) {
      const text = `event ${link.offset} does not follow on event ${last.offset}: their proofs differ`;
      this.#find('chain', text, trimAdvice(this.#stream, link.offset));
    }
  }

  #compare(link: Link, head: Head): void {
    if (link.proof !== head.proof)
      this.#find('head', `the proof of event ${link.offset} is not the one that is counted`, RESET);
  }

  /** @param head as it was before the walk */
  async #end(head: Head): Promise<void> {
    const last = this.#last;
    if (last === undefined) return this.#nothingKept(head);
    if (last.offset >= head.offset) {
      const now = await this.#head();
      // Forgotten meanwhile, and counted anew.
      if (last.offset > now.offset && now.offset >= head.offset) {
        this.#find('ahead', `there are events up to ${last.offset}, but only ${now.offset} are counted`, RESET);
      }
      return;
    }
    const first = (await this.#portion('-', 1))[0];
    if (first === undefined || first.offset > last.offset) return;
    this.#find('hole', `${last.offset + 1} to ${head.offset} missing at the end`, RESET);
  }

  async #nothingKept(head: Head): Promise<void> {
    if (head.offset === 0 || (await this.#redis.exists(this.#stream)) === 1) return;
    // Forgotten meanwhile: its numbers went with it.
    if ((await this.#head()).offset < head.offset) return;
    const text = `its stream is gone, but ${head.offset} events are counted`;
    this.#find('deleted', text, 'clients that come back are reset; find who deletes keys (DEL, an eviction policy)');
  }

  #find(name: string, text: string, advice: string): void {
    this.findings.push({ name, text: `${this.#channel}: ${text}`, advice });
  }

  async #head(): Promise<Head> {
    const [offset, proof] = await this.#redis.hmget(keys.meta, `offset:${this.#channel}`, `proof:${this.#channel}`);
    return { offset: Number(offset ?? 0), proof: proof ?? '' };
  }

  async #portion(from: string, entries: number = PORTION.entries): Promise<Link[]> {
    const words = asList(await portionScript.run(this.#redis, [this.#stream], [from, entries, PORTION.bytes])).map(
      String,
    );
    const links: Link[] = [];
    for (let index = 0; index + 2 < words.length; index += 3) {
      const [entry = '', chain = '', id = ''] = words.slice(index, index + 3);
      // The event's id has a field of its own, or is a word of the chain: entries of two versions may stand side by side.
      const [before = '', proof = '', , , event = id] = chain.split(' ');
      links.push({ entry, offset: Number(entry.split('-')[0]), before, proof, event });
    }
    return links;
  }
}

const RESET =
  'cursors on it prove nothing: delete the key {decnet}:meta while no node runs, and every client is reset to a fresh snapshot';

function trimAdvice(stream: string, offset: number): string {
  return `clients that stand before it are reset; XTRIM '${stream}' MINID ${entryId(offset)} ends that. Find who deletes entries`;
}

/** As `publish.lua` chains it. */
function proofOf(before: string, event: string): string {
  return new Bun.CryptoHasher('sha1')
    .update(before + event)
    .digest('hex')
    .slice(0, 8);
}

/** A channel whose first event came while we walked is counted by now. */
async function isUncounted(redis: Redis, stream: string): Promise<boolean> {
  const channel = stream.slice(keys.stream('').length);
  const isThere = (await redis.hexists(keys.meta, `offset:${channel}`)) === 1;
  // A reader may wait for the first event of a channel: its group makes an empty stream.
  return !isThere && (await redis.xlen(stream)) > 0;
}
