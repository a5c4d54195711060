import { LOG_CHANNEL } from '../../src/bus/channel.ts';
import { entryId } from '../../src/bus/entry.ts';
import { createEvent, type Event } from '../../src/bus/event.ts';
import { keys } from '../../src/bus/keys.ts';
import { releaseLease, takeLease } from '../../src/db/leases.ts';
import { until } from '../support/until.ts';
import { comeBackAs } from './faults.ts';
import type { Moment } from './redis-server.ts';
import type { Stage } from './stage.ts';

/** A stage without load, and how to wait for its clients. */
export interface DrillStage extends Stage {
  /** Resolves when every client has what the log holds. */
  current(): Promise<unknown>;
}

/**
 * One for each protection: the smallest story in which it is needed. What the dice leave out is done here, and without the
 * protection the story must end in a violation.
 */
export const DRILLS = {
  /** The log is trimmed while all are away, and no node remembers what it held. */
  'trimmed while away': (stage) =>
    whileAway(stage, async () => {
      await publish(stage, 30);
      for (const node of stage.fleet.nodes) await stage.fleet.kill(node);
      await Promise.all(stage.fleet.nodes.map((node) => stage.fleet.launch(node)));
      await stage.archive.copy();
      // Not the log: trimmed past the witness it would be taken for one that has lost something.
      for (const channel of stage.channels) await stage.archive.trim(channel, stage.archive.newest(channel));
      await publish(stage, 10);
    }),

  /** The log is flushed, and has more than before when they return. */
  'flushed while away': (stage) =>
    whileAway(stage, async () => {
      await stage.archive.copy();
      const before = new Map(stage.channels.map((channel) => [channel, stage.archive.newest(channel)]));
      await stage.archive.flush();
      const isLonger = async () => {
        await publish(stage, 200);
        await stage.archive.copy();
        return stage.channels.every((channel) => stage.archive.newest(channel) > (before.get(channel) ?? 0));
      };
      await until('a longer log', isLonger, 60_000);
    }),

  /** The log comes back without what all have seen, to nodes that never saw it, and goes on past where they stood. */
  'restored while away': (stage) =>
    withoutRelay(stage, async () => {
      let backup: Moment | undefined;
      await whileAway(
        stage,
        async () => {
          if (backup !== undefined) await comeBackAs(stage, backup, 'always', stage.fleet.nodes);
          await publish(stage, 60);
        },
        async () => {
          backup = await stage.redis.moment();
          await publish(stage, 20);
        },
      );
    }),

  /**
   * The log comes back without state events that the relay had published a moment ago, to nodes that never saw it. Every
   * client's place is good: none of them had seen those events. Whether the last look at the witness came before them or
   * after must not matter.
   */
  'state lost while away': async (stage) => {
    await stage.current();
    for (const client of stage.clients) client.vanish();
    const backup = await stage.redis.moment();
    for (let count = 0; count < 5; count += 1) await stage.load.identify();
    await until(
      'an empty outbox',
      async () => (await stage.db.selectFrom('outbox').select('seq').execute()).length === 0,
    );
    await comeBackAs(stage, backup, 'always', stage.fleet.nodes);
    stage.crowd.everyoneBack();
    await stage.current();
  },

  /** The log comes back without events that patterns hide, and with all that their clients were shown: nobody need be reset. */
  'lost what was hidden': async (stage) => {
    await publish(stage, 10);
    await stage.current();
    const shown = await stage.redis.moment();
    await stage.log.publish(Array.from({ length: 3 }, () => ({ event: createEvent('decky.d1.note', 'note', {}) })));
    await dispatched(stage);
    await comeBackAs(stage, shown, 'always', []);
    await publish(stage, 5);
    await stage.current();
  },

  /** Snapshots are ahead of the log, because nobody relays; their clients come back before it has followed. */
  'snapshot ahead of the log': async (stage) => {
    await withoutRelay(stage, async () => {
      for (const client of stage.clients) client.startOver();
      for (let count = 0; count < 5; count += 1) await stage.load.identify();
      stage.crowd.everyoneBack();
      await until('a position for everybody', () => stage.clients.every(({ at }) => at !== undefined));
      for (const client of stage.clients) client.vanish();
      stage.crowd.everyoneBack();
    });
    await stage.current();
  },

  /** They fall behind what memory holds. */
  'fallen behind': async (stage) => {
    for (const client of stage.clients) client.stall();
    await publish(stage, 780, 60_000);
    await dispatched(stage);
    stage.crowd.everyoneBack();
    await publish(stage, 10);
    await stage.current();
  },

  /**
   * The log is begun anew under their eyes, at a moment when only the tail can notice: the leases of the nodes, which a
   * flush would take along, are still there.
   */
  'begun anew under their eyes': async (stage) => {
    await publish(stage, 10);
    await stage.current();
    await checkpointed(stage);
    await stage.archive.behead();
    await publish(stage, 5);
  },
} satisfies Record<string, (stage: DrillStage) => Promise<void>>;

export type Drill = keyof typeof DRILLS;

/** @param before what they still see */
async function whileAway(stage: DrillStage, meanwhile: () => Promise<void>, before = async () => {}): Promise<void> {
  await publish(stage, 20);
  await before();
  await stage.current();
  for (const client of stage.clients) client.vanish();
  await meanwhile();
  stage.crowd.everyoneBack();
  await publish(stage, 5);
  await stage.current();
}

/** The database's lease says that another leads: events wait in the outbox, and nobody compares the witness. */
async function withoutRelay({ db, fleet }: DrillStage, act: () => Promise<void>): Promise<void> {
  for (const node of fleet.nodes) await fleet.kill(node);
  // Whoever led is dead.
  await db.updateTable('leases').set({ expires_at: 0 }).where('name', '=', 'relay').execute();
  await takeLease(db, 'relay', 'storm', 120_000);
  try {
    await Promise.all(fleet.nodes.map((node) => fleet.launch(node)));
    await act();
  } finally {
    await releaseLease(db, 'relay', 'storm');
  }
}

/** Publishes to every channel in turn, with the same ids again until Redis has said that it has them. */
async function publish(stage: DrillStage, count: number, bytes = 20): Promise<void> {
  stage.load.published += count;
  const publications = Array.from({ length: count }, (_, index) => ({ event: numberedEvent(stage, index, bytes) }));
  for (let index = 0; index < publications.length; index += 50) {
    const some = publications.slice(index, index + 50);
    const published = await until('redis', () => stage.log.publish(some).catch(() => undefined));
    for (const { id } of published) stage.load.acknowledged.add(id);
  }
}

function numberedEvent({ topologies }: DrillStage, index: number, bytes: number): Event {
  const payload = { n: index, pad: 'x'.repeat(bytes) };
  const topics = [
    ...topologies.map((id) => `topology.${id}.note`),
    'identity.note',
    'campaign.note',
    'orchestrator.note',
  ];
  return createEvent(topics[index % topics.length] ?? '', 'note', payload);
}

/** Every node has handed on all that the log holds. */
async function dispatched({ log, fleet }: DrillStage): Promise<void> {
  const { offset } = await log.position(LOG_CHANNEL);
  for (const url of fleet.urls) {
    await until('the tail of a node', async () => {
      const health = await (await fetch(`${url}/readyz`)).text();
      return Number(/"tail":\{[^}]*"offset":(\d+)/.exec(health)?.[1]) >= offset;
    });
  }
}

/**
 * Every group stands where its connection does: the next checkpoint has nothing to say, and finds no group missing. Not
 * those of the log, which the workers' own events move on all the time.
 */
async function checkpointed({ archive, channels, clients, redis }: DrillStage): Promise<void> {
  // A connection gets its group when it has lived for a moment, and would notice then.
  await until('a group for everybody', async () => {
    const all = await Promise.all(
      [...channels, 'system', LOG_CHANNEL].map((channel) => redis.client.xinfo('GROUPS', keys.stream(channel))),
    );
    return (all as unknown[][]).reduce((sum, groups) => sum + groups.length, 0) >= clients.length;
  });
  await archive.copy();
  for (const channel of channels) {
    await until('the checkpoints', async () => {
      const groups = (await redis.client.xinfo('GROUPS', keys.stream(channel))) as string[][];
      return groups.every((fields) => fields.includes(entryId(archive.newest(channel))));
    });
  }
}
