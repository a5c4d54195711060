import { LOG_CHANNEL } from '../../src/bus/channel.ts';
import type { LogEntry } from '../../src/bus/entry.ts';
import { matcher } from '../../src/bus/topic.ts';
import { type Db, readConsistently } from '../../src/db/database.ts';
import type { LogRow } from '../../src/db/schema.ts';
import { LOG_LINE_CHANNEL, LOG_LINE_TOPIC, lineId, logRowOf } from '../../src/logs/log-line.ts';
import { loggedEvent, type Projection } from '../../src/projection/projection.ts';
import { allProjections } from '../../src/projection/start.ts';
import { dump } from '../projection/support.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import type { Archive } from './archive.ts';

/** The storm forms identities itself, row and event in one transaction: with more than an event tells. */
const WRITTEN_WITH_EVENTS: ReadonlySet<string> = new Set(['attacker_identities']);
const MOST_TOLD = 3;
const AT_ONCE = 500;

/** What the projections say of themselves, and all their rows, at one moment. */
interface Sight {
  readonly rows: Record<string, unknown[]>;
  readonly epochs: readonly { readonly epoch: string; readonly ordinal: number }[];
  readonly setAside: readonly { readonly projection: string; readonly topic: string; readonly error: string }[];
  readonly projected: readonly Projected[];
}

interface Projected {
  readonly projection: Projection;
  /** Where it stands in the log. */
  readonly offset: number;
  readonly events: readonly Counted[];
  /** Epoch → offset in the log up to which ids are not remembered any more. */
  readonly forgotten: ReadonlyMap<string, number>;
}

interface Counted {
  readonly event_id: string;
  readonly epoch: string;
  readonly log_offset: number;
  readonly ordinal: number;
}

/**
 * Counts once more, beside the nodes, on a database that no storm reaches: what a projection says that it has counted, in that
 * order, and each event once. Its rows have to be the same; and nothing that the log holds may be missing.
 */
export class Recount {
  readonly #db: Db;
  readonly #archive: Archive;
  readonly #fresh: TestDatabase;
  readonly #projections = allProjections('sqlite');
  /** Projection → the newest of its events that was counted again. */
  readonly #reached = new Map<string, number>();

  private constructor(db: Db, archive: Archive, fresh: TestDatabase) {
    this.#db = db;
    this.#archive = archive;
    this.#fresh = fresh;
  }

  static async begin(db: Db, archive: Archive): Promise<Recount> {
    return new Recount(db, archive, await createTestDatabase('sqlite'));
  }

  dispose(): Promise<void> {
    return this.#fresh.dispose();
  }

  /** Which projections have not counted all of the log that was copied last, in words. */
  async behind(): Promise<string[]> {
    const rows = await this.#db.selectFrom('projections').select(['name', 'epoch', 'log_offset']).execute();
    const { epoch, past } = this.#archive;
    return this.#projections.flatMap(({ name, topics }) => {
      const row = rows.find((other) => other.name === name);
      const isWanted = matcher(topics);
      const newest = past.newest(epoch, LOG_CHANNEL, ({ topic }) => isWanted(topic));
      if (row !== undefined && row.epoch === epoch && row.log_offset >= newest) return [];
      return [`projection ${name} stands at ${row?.epoch}.${row?.log_offset}, the log at ${epoch}.${newest}`];
    });
  }

  /** To be asked when nobody is {@link behind}. @returns what is wrong, in words */
  async differs(): Promise<string[]> {
    const sight = await this.#look();
    // All that was counted has been in the log before.
    await this.#archive.copy();
    const present = await this.#archive.present();
    const problems = sight.setAside.map(
      ({ projection, topic, error }) => `projection ${projection} has set aside a ${topic}: ${error}`,
    );
    for (const projected of sight.projected) {
      problems.push(...missingOf(projected, present).slice(0, MOST_TOLD), ...(await this.#count(projected, sight)));
    }
    const again = await dump(this.#fresh.db);
    for (const [table, rows] of Object.entries(sight.rows)) {
      if (WRITTEN_WITH_EVENTS.has(table)) continue;
      const isNumberedByPlace = table === 'logs';
      const strip = (all: readonly unknown[]) => (isNumberedByPlace ? all.map(withoutId) : all);
      problems.push(...differenceOf(table, strip(rows), strip(again[table] ?? [])));
    }
    problems.push(...misplaced(sight, present).slice(0, MOST_TOLD));
    this.#archive.logged.clear();
    return problems;
  }

  #look(): Promise<Sight> {
    return readConsistently(this.#db, async (trx) => ({
      rows: await dump(trx),
      epochs: await trx.selectFrom('log_epochs').selectAll().execute(),
      setAside: await trx.selectFrom('projection_set_aside').select(['projection', 'topic', 'error']).execute(),
      projected: await Promise.all(this.#projections.map((projection) => lookAt(trx, projection))),
    }));
  }

  async #count({ projection, events }: Projected, { epochs }: Sight): Promise<string[]> {
    const reached = this.#reached.get(projection.name) ?? 0;
    const wanted = events.filter(({ ordinal }) => ordinal > reached).toSorted((a, b) => a.ordinal - b.ordinal);
    const found: LogEntry[] = [];
    const problems: string[] = [];
    for (const { event_id, epoch, log_offset, ordinal } of wanted) {
      const entry = this.#archive.logged.get(`${epoch} ${log_offset} ${event_id}`);
      if (entry !== undefined) found.push(entry);
      else
        problems.push(
          `projection ${projection.name} counted ${event_id}, which was never in the log at ${epoch}.${log_offset}`,
        );
      this.#reached.set(projection.name, ordinal);
    }
    await this.#fresh.db.transaction().execute(async (trx) => {
      // Lines have the same ids only where epochs have the same numbers.
      if (epochs.length > 0) {
        await trx
          .insertInto('log_epochs')
          .values([...epochs])
          .onConflict((conflict) => conflict.doNothing())
          .execute();
      }
      const known = found.flatMap((entry) => loggedEvent(entry) ?? []);
      for (let first = 0; first < known.length; first += AT_ONCE) {
        await projection.apply(trx, known.slice(first, first + AT_ONCE));
      }
    });
    return problems.slice(0, MOST_TOLD);
  }
}

async function lookAt(db: Db, projection: Projection): Promise<Projected> {
  const { name } = projection;
  const row = await db.selectFrom('projections').select('log_offset').where('name', '=', name).executeTakeFirst();
  const events = await db
    .selectFrom('projection_events')
    .select(['event_id', 'epoch', 'log_offset', 'ordinal'])
    .where('projection', '=', name)
    .execute();
  const epochs = await db
    .selectFrom('projection_epochs')
    .select(['epoch', 'forgotten'])
    .where('projection', '=', name)
    .execute();
  const forgotten = new Map(epochs.map((epoch) => [epoch.epoch, epoch.forgotten]));
  return { projection, offset: row?.log_offset ?? 0, events, forgotten };
}

/** What the log holds, and the projection has passed without counting it. */
function missingOf({ projection, offset, events, forgotten }: Projected, present: readonly LogEntry[]): string[] {
  const isWanted = matcher(projection.topics);
  const known = new Set(events.map(({ event_id }) => event_id));
  return present.flatMap((entry) => {
    if (entry.offset > offset || !isWanted(entry.topic) || known.has(entry.id)) return [];
    if (entry.offset <= (forgotten.get(entry.epoch) ?? 0)) return [];
    return [
      `projection ${projection.name} has not counted ${entry.id} (${entry.topic}), at ${entry.offset} of the log`,
    ];
  });
}

/** Lines whose rows have another id than their places in the log say: a stream that shows them tells that one. */
function misplaced({ rows, epochs, projected }: Sight, present: readonly LogEntry[]): string[] {
  const logs = (rows.logs ?? []).map((row): LogRow => JSON.parse(String(row)));
  const byId = new Map(logs.map((row) => [row.id, withoutId(JSON.stringify(row))]));
  const contents = new Set(byId.values());
  const ordinals = new Map(epochs.map(({ epoch, ordinal }) => [epoch, ordinal]));
  const reached = projected.find(({ projection }) => projection.name === 'logs')?.offset ?? 0;
  // Of an event that the log holds twice the later place counts.
  const newest = new Map(present.filter(({ offset }) => offset <= reached).map((entry) => [entry.id, entry]));
  return [...newest.values()].flatMap((entry) => {
    const event = entry.topic === LOG_LINE_TOPIC ? loggedEvent(entry) : undefined;
    const offset = event?.offsetIn(LOG_LINE_CHANNEL);
    const ordinal = ordinals.get(entry.epoch);
    const row = event === undefined ? undefined : logRowOf(event, 0);
    if (row === undefined || offset === undefined || ordinal === undefined) return [];
    const [id, content] = [lineId(ordinal, offset), withoutId(JSON.stringify(row))];
    // What has no row at all has gone with its age, or is told as missing.
    if (byId.get(id) === content || !contents.has(content)) return [];
    return [`the line of ${entry.id} stands at ${entry.epoch}.${offset}, and its row has not the id ${id}`];
  });
}

/** @param row as JSON */
function withoutId(row: unknown): string {
  const { id, ...content } = JSON.parse(String(row));
  return JSON.stringify(content, Object.keys(content).sort());
}

function differenceOf(table: string, rows: readonly unknown[], again: readonly unknown[]): string[] {
  const [known, counted] = [new Set(again), new Set(rows)];
  const surplus = rows.filter((row) => !known.has(row)).slice(0, MOST_TOLD);
  const missing = again.filter((row) => !counted.has(row)).slice(0, MOST_TOLD);
  return [
    ...surplus.map((row) => `${table} has a row that a recount has not: ${row}`),
    ...missing.map((row) => `${table} lacks a row that a recount has: ${row}`),
  ];
}
