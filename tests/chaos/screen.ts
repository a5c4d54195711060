import { latestObservations } from '../../src/attackers/observations.ts';
import { recentCampaigns } from '../../src/campaigns/repository.ts';
import { type Db, readConsistently } from '../../src/db/database.ts';
import { recentActions } from '../../src/orchestrator/repository.ts';
import type { RawFrame } from './line.ts';

/** What somebody sees who shows the snapshot and every event since: it must come to equal the database. */
export interface Screen {
  show(frame: RawFrame): void;
  /** @returns how it differs from the database, in words */
  differs(db: Db): Promise<string | undefined>;
}

interface MutationRow {
  readonly id: string;
  readonly state: string;
}

/** Told by the last token of the event's topic. */
const STATE_AFTER: Readonly<Record<string, string>> = {
  enqueued: 'pending',
  applying: 'applying',
  applied: 'applied',
  failed: 'failed',
};

/** A topology: its status, and each mutation that is in flight or was seen to end. */
export class TopologyScreen implements Screen {
  readonly #id: string;
  #status = '';
  #mutations = new Map<string, string>();

  constructor(id: string) {
    this.#id = id;
  }

  show({ event, data }: RawFrame): void {
    if (event !== 'snapshot' && event !== 'status' && !event.startsWith('mutation.')) return;
    const content = JSON.parse(data);
    if (event === 'snapshot') {
      this.#status = content.status;
      this.#mutations = new Map(content.in_flight.map(({ id, state }: MutationRow) => [id, state]));
    } else if (event === 'status') {
      this.#status = content.payload.state;
    } else {
      const state = STATE_AFTER[event.slice('mutation.'.length)];
      if (state !== undefined) this.#mutations.set(content.payload.mutation_id, state);
    }
  }

  differs(db: Db): Promise<string | undefined> {
    return readConsistently(db, async (trx) => {
      const { status } = await trx
        .selectFrom('topologies')
        .select('status')
        .where('id', '=', this.#id)
        .executeTakeFirstOrThrow();
      if (status !== this.#status) return `shows status ${this.#status}, and it is ${status}`;
      const shown = [...this.#mutations.keys()];
      const rows = await trx
        .selectFrom('topology_mutations')
        .select(['id', 'state'])
        .where('topology_id', '=', this.#id)
        .where((is) =>
          is.or([is('state', 'in', ['pending', 'applying']), ...(shown.length === 0 ? [] : [is('id', 'in', shown)])]),
        )
        .execute();
      const states = new Map(rows.map(({ id, state }) => [id, state]));
      for (const [id, state] of states) {
        const seen = this.#mutations.get(id);
        if (seen !== state) return `shows mutation ${id} as ${seen ?? 'nothing'}, and it is ${state}`;
      }
      for (const [id, state] of this.#mutations) {
        if (!states.has(id)) return `shows mutation ${id} as ${state}, and there is none`;
        if (state === 'applied' || state === 'failed') this.#mutations.delete(id); // Compared: it never changes again.
      }
      return undefined;
    });
  }
}

const SHOWN_IDENTITIES = 50;

/** The identities: those that the snapshot listed, and those that were formed or merged since. */
export class IdentityScreen implements Screen {
  #identities = new Set<string>();

  show({ event, data }: RawFrame): void {
    if (event !== 'snapshot' && event !== 'formed' && event !== 'merged') return;
    const content = JSON.parse(data);
    if (event === 'snapshot') this.#identities = new Set(content.identities.map(({ uuid }: { uuid: string }) => uuid));
    else if (event === 'formed') this.#identities.add(content.payload.identity_uuid);
    else this.#identities.delete(content.payload.loser_uuid);
  }

  async differs(db: Db): Promise<string | undefined> {
    const { newest, gone } = await readConsistently(db, async (trx) => {
      const rows = await trx
        .selectFrom('attacker_identities')
        .select('uuid')
        .where('merged_into_uuid', 'is', null)
        .orderBy('updated_at', 'desc')
        .orderBy('uuid')
        .limit(SHOWN_IDENTITIES)
        .execute();
      const merged = await trx
        .selectFrom('attacker_identities')
        .select('uuid')
        .where('merged_into_uuid', 'is not', null)
        .execute();
      return { newest: rows.map(({ uuid }) => uuid), gone: merged.map(({ uuid }) => uuid) };
    });
    const missing = newest.find((uuid) => !this.#identities.has(uuid));
    if (missing !== undefined) return `does not show identity ${missing}`;
    const zombie = gone.find((uuid) => this.#identities.has(uuid));
    return zombie === undefined ? undefined : `shows identity ${zombie}, which was merged into another`;
  }
}

/** What is shown under a name: which event told it, and when that said that it was. */
interface Shown {
  readonly name: string;
  readonly eventId: string;
  readonly ts: number;
}

/** Rows of a projection: one event makes each, and a newer one makes it anew. */
interface Rows {
  inSnapshot(content: Record<string, Record<string, unknown>[]>): readonly Shown[];
  ofEvent(event: string, content: { readonly ts: number; readonly payload: Record<string, unknown> }): readonly Shown[];
  /** Those that a snapshot would show. */
  read(db: Db): Promise<readonly Shown[]>;
}

/**
 * What follows the log: the snapshot, which is behind it, and all that came since. The rows hold nothing else; except for events
 * that Redis has lost since, of which nobody can be told any more.
 */
export class ProjectedScreen implements Screen {
  readonly #rows: Rows;
  readonly #isInLog: (eventId: string) => boolean;
  #shown = new Map<string, Shown>();
  /** Where the state stood with which it began. */
  #since = '';

  constructor(rows: Rows, isInLog: (eventId: string) => boolean) {
    this.#rows = rows;
    this.#isInLog = isInLog;
  }

  show({ id, event, data }: RawFrame): void {
    if (['reset', 'resumed', 'position'].includes(event)) return;
    const content = JSON.parse(data);
    const isSnapshot = event === 'snapshot';
    if (isSnapshot) {
      this.#shown = new Map();
      this.#since = id ?? '';
    }
    for (const shown of isSnapshot ? this.#rows.inSnapshot(content) : this.#rows.ofEvent(event, content)) {
      if ((this.#shown.get(shown.name)?.ts ?? 0) <= shown.ts) this.#shown.set(shown.name, shown);
    }
  }

  async differs(db: Db): Promise<string | undefined> {
    for (const { name, eventId } of await this.#rows.read(db)) {
      const shown = this.#shown.get(name)?.eventId;
      if (shown === eventId || !this.#isInLog(eventId)) continue;
      const since = `its snapshot stood at '${this.#since}'`;
      return `shows ${name} as ${shown ?? 'nothing'}, and event ${eventId} is in the log and in the rows; ${since}`;
    }
    return undefined;
  }
}

const first = (ids: readonly string[]): Shown[] => ids.map((id) => ({ name: id, eventId: id, ts: 0 }));
const SHOWN_ROWS = { limit: 50, offset: 0 } as const;

/** Each campaign has the id of the event that formed it. */
export const CAMPAIGN_ROWS: Rows = {
  inSnapshot: ({ campaigns = [] }) => first(campaigns.map(({ uuid }) => String(uuid))),
  ofEvent: (event, { payload }) => (event === 'formed' ? first([String(payload.campaign_uuid)]) : []),
  read: async (db) => first((await recentCampaigns(db, SHOWN_ROWS)).map(({ uuid }) => uuid)),
};

/** What each action was is the id of its event. */
export const ORCHESTRATOR_ROWS: Rows = {
  inSnapshot: ({ events = [] }) => first(events.map(({ action }) => String(action))),
  ofEvent: (event, { payload }) => (event === 'traffic' ? first([String(payload.action)]) : []),
  read: async (db) => first((await recentActions(db, SHOWN_ROWS)).map(({ uuid }) => uuid)),
};

/** The value of each observation is the id of its event. */
export const observationRows = (attacker: string): Rows => ({
  inSnapshot: ({ observations = [] }) => observations.map(observed),
  ofEvent: (event, { payload }) => (event === 'observation' ? [observed(payload)] : []),
  read: async (db) => (await latestObservations(db, attacker)).map(observed),
});

function observed(row: Record<string, unknown>): Shown {
  return { name: String(row.primitive), eventId: String(row.value), ts: Number(row.ts) };
}

/** A stream of events without a state. */
export const blankScreen: Screen = { show: () => {}, differs: async () => undefined };
