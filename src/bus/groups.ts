import type { Redis } from 'ioredis';
import type { Log } from '../telemetry/log.ts';
import { ByteBudget } from './byte-budget.ts';
import closeSource from './close-group.lua' with { type: 'text' };
import destroySource from './destroy-groups.lua' with { type: 'text' };
import { type Entry, entryId, parseEntry, type RawEntry } from './entry.ts';
import expiredSource from './expired.lua' with { type: 'text' };
import fittingSource from './fitting.lua' with { type: 'text' };
import { keys } from './keys.ts';
import leaseSource from './lease.lua' with { type: 'text' };
import openSource from './open-group.lua' with { type: 'text' };
import readSource from './read.lua' with { type: 'text' };
import { asList, script } from './script.ts';
import unusedSource from './unused.lua' with { type: 'text' };

const leaseScript = script(leaseSource);
const expiredScript = script(expiredSource);
const readScript = script(fittingSource, readSource);
const openScript = script(openSource);
const closeScript = script(unusedSource, closeSource);
const destroyScript = script(unusedSource, destroySource);

/** So many groups are destroyed by one command: a millisecond or two of Redis. */
const DESTROY_BATCH = 200;

/** Of answers to all reads under way: what comes at once, however many clients replay events of whatever size. */
const READ_BUDGET_BYTES = 4 * 1024 * 1024;

/** The consumer group of one connection, on the stream of its channel. */
export interface Group {
  readonly name: string;
  readonly channel: string;
}

/** The group is gone: its stream was flushed or deleted, or its node was taken for dead. Open it again. */
export class GroupGoneError extends Error {
  constructor(group: Group) {
    super(`consumer group ${group.name} is gone`);
    this.name = 'GroupGoneError';
  }
}

/** Groups have one consumer each; its name says nothing. */
const CONSUMER = 'c';

/**
 * The consumer groups of this node's connections. A group is a position in Redis, never a queue: it is read with `NOACK`
 * (the client's `Last-Event-ID` is the acknowledgement), pins no trimming and holds no pending entries.
 */
export class Groups {
  readonly node: string;
  readonly #commands: Redis;
  readonly #replay: readonly Redis[];
  readonly #leaseMs: number;
  readonly #budget = new ByteBudget(READ_BUDGET_BYTES);
  #turn = 0;
  #isLeased = false;
  #hasLapsed = false;

  /**
   * @param node this process among those that share the Redis
   * @param options.leaseMs a node that has not called {@link renew} for so long is dead
   */
  constructor(node: string, commands: Redis, replay: readonly Redis[], options: { leaseMs: number }) {
    this.node = node;
    this.#commands = commands;
    this.#replay = replay;
    this.#leaseMs = options.leaseMs;
  }

  /**
   * Creates the group of a connection, or moves it when it exists: its first read answers the event after the offset.
   * @param connection id of the connection, unique on this node
   * @throws {GroupGoneError} when the channel has no such place (any more): ask where it stands
   */
  async open(connection: string, channel: string, offset: number): Promise<Group> {
    const group: Group = { name: `sse:${this.node}:${connection}`, channel };
    this.#noteLease(
      await this.#orGone(group, () =>
        openScript.run(
          this.#commands,
          [keys.nodes, keys.groups(this.node), keys.stream(channel), keys.meta],
          [this.node, this.#leaseMs, group.name, entryId(offset), member(group), channel],
        ),
      ),
    );
    return group;
  }

  /**
   * The next events of the group; empty when there is none. Never blocks.
   * @param offset where the group stands
   * @param most events, and bytes of their data, that one answer may hold; a single event may be larger
   * @param expected bytes that the answer will have: it waits until so many more may be under way
   * @throws {GroupGoneError}
   */
  read(
    group: Group,
    offset: number,
    most: { readonly events: number; readonly bytes: number },
    expected = most.bytes,
  ): Promise<Entry[]> {
    return this.#budget.run(expected, async () => {
      const answer = await this.#orGone(group, () =>
        readScript.run(
          this.#nextReplay(),
          [keys.stream(group.channel)],
          [group.name, CONSUMER, offset, most.events, most.bytes],
        ),
      );
      return toRawEntries(asList(answer)).map(parseEntry);
    });
  }

  /**
   * Sets the position of the group: its next read answers the event after the offset.
   * @throws {GroupGoneError}
   */
  async moveTo(group: Group, offset: number): Promise<void> {
    await this.#orGone(group, () =>
      this.#commands.xgroup('SETID', keys.stream(group.channel), group.name, entryId(offset)),
    );
  }

  /**
   * Moves many groups in one round trip.
   * @returns the groups that are gone
   */
  async checkpoint(positions: readonly { group: Group; offset: number }[]): Promise<Group[]> {
    const moved = await Promise.allSettled(positions.map(({ group, offset }) => this.moveTo(group, offset)));
    const gone: Group[] = [];
    moved.forEach((result, index) => {
      const position = positions[index];
      if (result.status === 'rejected' && result.reason instanceof GroupGoneError && position)
        gone.push(position.group);
    });
    return gone;
  }

  /** Destroys the group. Safe when it is gone already. */
  async close(group: Group): Promise<void> {
    await closeScript.run(
      this.#commands,
      [keys.groups(this.node), keys.stream(group.channel)],
      [group.name, member(group)],
    );
  }

  /**
   * Renews the lease of this node, and with it of all its groups.
   * @returns true when it had ended since the last time: the groups may be gone, and what they kept from being forgotten
   */
  async renew(): Promise<boolean> {
    this.#noteLease(await leaseScript.run(this.#commands, [keys.nodes], [this.node, this.#leaseMs]));
    const hasLapsed = this.#hasLapsed;
    this.#hasLapsed = false;
    return hasLapsed;
  }

  /** Destroys all groups of this node and gives its lease back. For a clean stop. */
  async retire(): Promise<void> {
    await destroyGroupsOf(this.#commands, this.node, 'retired');
  }

  /**
   * Destroys the groups of every node whose lease has ended. A node that renews it meanwhile keeps those that are left;
   * its connections find the others gone ({@link GroupGoneError}) and open them again.
   * @returns the dead nodes
   */
  async reap(logger: Log): Promise<string[]> {
    const expired = asList(await expiredScript.run(this.#commands, [keys.nodes], [])).map(String);
    const dead: string[] = [];
    for (const node of expired) {
      const { destroyed, revived } = await destroyGroupsOf(this.#commands, node, 'expired');
      if (revived) logger.warn('a node renewed its lease while its groups were destroyed', { node, groups: destroyed });
      else logger.warn('destroyed the consumer groups of a dead node', { node, groups: destroyed });
      if (!revived) dead.push(node);
    }
    return dead;
  }

  /** @param wasMissing 1 when Redis had no lease of this node, or one that had ended */
  #noteLease(wasMissing: unknown): void {
    if (wasMissing === 1 && this.#isLeased) this.#hasLapsed = true;
    this.#isLeased = true;
  }

  #nextReplay(): Redis {
    this.#turn = (this.#turn + 1) % this.#replay.length;
    return this.#replay[this.#turn] ?? this.#commands;
  }

  async #orGone<T>(group: Group, command: () => Promise<T>): Promise<T> {
    try {
      return await command();
    } catch (error) {
      // SETID on a stream that was deleted says "requires the key to exist".
      if (hasCode(error, 'NOGROUP') || (error instanceof Error && error.message.includes('key to exist'))) {
        throw new GroupGoneError(group);
      }
      throw error;
    }
  }
}

async function destroyGroupsOf(
  redis: Redis,
  node: string,
  when: 'expired' | 'retired',
): Promise<{ destroyed: number; revived: boolean }> {
  let destroyed = 0;
  for (;;) {
    const args = [node, when, DESTROY_BATCH, keys.stream('')];
    const [count, left] = asList(await destroyScript.run(redis, [keys.nodes, keys.groups(node)], args));
    if (count === undefined) return { destroyed, revived: true };
    destroyed += Number(count);
    if (left === 0) return { destroyed, revived: false };
  }
}

// A topic may hold any character but white space, so the first space ends the group's name.
function member(group: Group): string {
  return `${group.name} ${group.channel}`;
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && error.message.startsWith(code);
}

/** XREAD answers null or `[[stream, entries]]`. */
export function entriesOf(answer: unknown): RawEntry[] {
  if (answer === null) return [];
  const [first] = asList(answer);
  return first === undefined ? [] : toRawEntries(asList(asList(first)[1]));
}

/** An entry that was deleted has null for its fields. */
export function toRawEntries(entries: readonly unknown[]): RawEntry[] {
  return entries.flatMap((raw): RawEntry[] => {
    const [id, fields] = asList(raw);
    return Array.isArray(fields) ? [[String(id), fields.map(String)]] : [];
  });
}
