import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { Db, Engine } from '../db/database.ts';
import type { LogRow } from '../db/schema.ts';
import { counterOf } from '../projection/counters.ts';
import { countRange, linesOf } from './counts.ts';
import { LINES } from './log-projection.ts';
import { type ExactColumn, isOpenRange, type LogQuery, type LogSearch, type TimeRange } from './search.ts';

/** A text of fewer characters has no trigram to look for. */
const TRIGRAM = 3;
/** How much is looked at for one search. */
export interface SearchBounds {
  /** So many of the newest lines, of those that an index of exact values leaves, are looked at one by one. */
  readonly walked: number;
  /** Lines that the index of texts finds are looked at up to here. Where more are to be expected it is not asked. */
  readonly candidates: number;
  /** Of the lines walked over, enough to tell what is common. */
  readonly sampled: number;
}

const BOUNDS: SearchBounds = { walked: 10_000, candidates: 10_000, sampled: 1000 };
/** With SQLite the process waits for each statement: it looks at so many lines at once. */
const WALKED_AT_ONCE = 2500;

/** What is known of a line that was found. */
export type FoundLine = Pick<LogRow, 'id' | 'timestamp'>;

/** The newest first. */
export const NEWEST = sql`logs.timestamp desc, logs.id desc`;

/**
 * Columns with an index of their values in the order of time (migrations 013, 022, 024), each with the other column that the
 * index holds: what both say is known without a look at the lines.
 */
const BESIDE: Readonly<Record<ExactColumn, ExactColumn>> = {
  decky: 'service',
  service: 'event_type',
  event_type: 'decky',
  attacker_ip: 'service',
};

/**
 * The lines that a search finds, the newest first. No search takes longer than some tens of milliseconds with a million
 * lines, whatever it asks for:
 * - Exact values are found by an index alone.
 * - For all else the newest lines are walked over. What many lines have is found there.
 * - What few lines have is looked up by its trigrams, however old it is. What many candidates have and few lines have is told
 *   as far as the walk has found it.
 * @param limit lines
 */
export async function foundLines(
  db: Db,
  engine: Engine,
  query: LogQuery,
  limit: number,
  bounds: SearchBounds = BOUNDS,
): Promise<FoundLine[]> {
  const { search, range } = query;
  const chosen = await fewest(db, engine, search.exact);
  const indexed = [...(chosen?.conditions ?? []), ...within(range)];
  const others = [...(chosen?.others ?? []), ...search.words.map((word) => contains(engine, word))];
  others.push(...search.fields.map(({ name, value }) => hasMember(engine, name, value)));
  if (others.length === 0) {
    const found = sql<FoundLine>`select logs.id, logs.timestamp from logs where ${all(indexed)}
      order by ${NEWEST} limit ${limit}`;
    return (await found.execute(db)).rows;
  }
  const near = await nearest(db, indexed, bounds);
  const walk = await walked(db, engine, near, indexed, others, limit);
  if (walk.length >= limit || near < bounds.walked) return walk;
  const lines = Math.min(chosen?.lines ?? Number.POSITIVE_INFINITY, await linesIn(db, range));
  const texts = textsOf(search).filter(hasTrigram);
  if (texts.length === 0) return walk;
  const isLoose = search.fields.length > 0 || search.exact.length > 0;
  const met = isLoose ? await candidatesAmong(db, engine, indexed, texts, bounds) : walk.length;
  // What the walk was denied is as common among the older lines as among the newest: nobody has all of them looked at.
  if ((met / bounds.walked) * lines > bounds.candidates) return walk;
  const conditions = [...indexed, ...others];
  const older = await (engine === 'sqlite' ? byTrigrams : byText)(db, texts, conditions, limit, bounds);
  return newestOf([...walk, ...older]).slice(0, limit);
}

/** Each once. */
function newestOf(lines: readonly FoundLine[]): FoundLine[] {
  const unique = [...new Map(lines.map((line) => [line.id, line])).values()];
  return unique.sort((a, b) => (a.timestamp === b.timestamp ? b.id - a.id : a.timestamp < b.timestamp ? 1 : -1));
}

const textIndexes = new WeakMap<Db, boolean>();

/** Whether PostgreSQL had the extension pg_trgm when the tables were made. Without it what the walk finds is all there is. */
async function hasTextIndex(db: Db): Promise<boolean> {
  let isThere = textIndexes.get(db);
  if (isThere === undefined) {
    isThere = (await sql`select 1 from pg_indexes where indexname = 'logs_text'`.execute(db)).rows.length > 0;
    textIndexes.set(db, isThere);
  }
  return isThere;
}

/** How many lines an index leaves, as far as they would be walked over: of two values that seldom meet there are few. */
async function nearest(
  db: Db,
  indexed: readonly RawBuilder<SqlBool>[],
  { walked: most }: SearchBounds,
): Promise<number> {
  if (indexed.length === 0) return most;
  const lines = sql`(select 1 from logs where ${all(indexed)} order by ${NEWEST} limit ${most}) as logs`;
  const { rows } = await sql<{ lines: number }>`select count(*) as lines from ${lines}`.execute(db);
  return Number(rows[0]?.lines ?? 0);
}

/** The newest of the lines that an index leaves, as far as they are what is asked for. @param most lines to look at */
async function walked(
  db: Db,
  engine: Engine,
  most: number,
  indexed: readonly RawBuilder<SqlBool>[],
  others: readonly RawBuilder<SqlBool>[],
  limit: number,
): Promise<FoundLine[]> {
  const step = engine === 'sqlite' ? Math.min(WALKED_AT_ONCE, most) : most;
  const found: FoundLine[] = [];
  for (let first = 0; first < most && found.length < limit; first += step) {
    // Others have their turn in between.
    if (first > 0) await Bun.sleep(0);
    const newest = sql`(select * from logs where ${all(indexed)} order by ${NEWEST} limit ${step} offset ${first}) as logs`;
    const { rows } = await sql<FoundLine>`select logs.id, logs.timestamp from ${newest} where ${all(others)}
      order by ${NEWEST} limit ${limit - found.length}`.execute(db);
    found.push(...rows);
  }
  return found;
}

/** How many of the lines that were walked over the index of texts would find. */
async function candidatesAmong(
  db: Db,
  engine: Engine,
  indexed: readonly RawBuilder<SqlBool>[],
  texts: readonly string[],
  { walked: walkedLines, sampled }: SearchBounds,
): Promise<number> {
  const newest = sql`(select * from logs where ${all(indexed)} order by ${NEWEST} limit ${sampled}) as logs`;
  const { rows } = await sql<{
    met: number;
  }>`select count(*) as met from ${newest} where ${holdsTexts(engine, texts)}`.execute(db);
  return (Number(rows[0]?.met ?? 0) * walkedLines) / sampled;
}

/** SQLite: in the order in which lines came, which the index has. */
async function byTrigrams(
  db: Db,
  texts: readonly string[],
  conditions: readonly RawBuilder<SqlBool>[],
  limit: number,
  { candidates: most }: SearchBounds,
): Promise<FoundLine[]> {
  const candidates = sql`(select rowid as id from log_search where log_search match ${matchOf(texts)}
    order by rowid desc limit ${most}) as candidates`;
  const found = sql<FoundLine>`select logs.id, logs.timestamp from ${candidates} cross join logs on logs.id = candidates.id
    where ${all(conditions.map(withoutIndex))} limit ${limit}`;
  return (await found.execute(db)).rows;
}

/** PostgreSQL: the index of texts (migration 013) has the same expression. */
async function byText(
  db: Db,
  texts: readonly string[],
  conditions: readonly RawBuilder<SqlBool>[],
  limit: number,
  { candidates: most }: SearchBounds,
): Promise<FoundLine[]> {
  if (!(await hasTextIndex(db))) return [];
  const candidates = sql`(select * from logs where ${holdsTexts('postgres', texts)} limit ${most}) as logs`;
  const found = sql<FoundLine>`select logs.id, logs.timestamp from ${candidates} where ${all(conditions)}
    order by ${NEWEST} limit ${limit}`;
  return (await found.execute(db)).rows;
}

/** All that is in the lines' index entries is compared there: with the lines at hand no other index is wanted. */
const withoutIndex = (condition: RawBuilder<SqlBool>) => sql<SqlBool>`+(${condition})`;

/** The exact value that the fewest lines have, as what its index can answer, and as what it cannot. */
async function fewest(db: Db, engine: Engine, exact: LogSearch['exact']) {
  const counted = [];
  for (const { column, value } of exact) counted.push({ column, value, lines: await linesOf(db, column, value) });
  const [first] = counted.toSorted((a, b) => a.lines - b.lines);
  if (first === undefined) return undefined;
  const isKnown = ({ column }: { column: ExactColumn }) => column === first.column || column === BESIDE[first.column];
  return {
    lines: first.lines,
    conditions: exact.filter(isKnown).map((one) => isExactly(engine, one, one.column === first.column)),
    others: exact.filter((one) => !isKnown(one)).map((one) => isExactly(engine, one, false)),
  };
}

/** @param isChosen by whose index lines are found: a plus keeps SQLite from taking another one's */
function isExactly(
  engine: Engine,
  { column, value }: LogSearch['exact'][number],
  isChosen: boolean,
): RawBuilder<SqlBool> {
  const ref = sql.ref(`logs.${column}`);
  return engine === 'postgres' || isChosen ? sql<SqlBool>`${ref} = ${value}` : sql<SqlBool>`+${ref} = ${value}`;
}

export function within({ start, end }: TimeRange): RawBuilder<SqlBool>[] {
  const conditions = [];
  if (start !== undefined) conditions.push(sql<SqlBool>`logs.timestamp >= ${start}`);
  if (end !== undefined) conditions.push(sql<SqlBool>`logs.timestamp <= ${end}`);
  return conditions;
}

async function linesIn(db: Db, range: TimeRange): Promise<number> {
  return isOpenRange(range) ? counterOf(db, LINES) : countRange(db, range);
}

const COLUMNS = ['raw_line', 'decky', 'service', 'attacker_ip', 'fields'] as const;
/** All in which the index of texts looks; with PostgreSQL the same expression as that of the index (migration 013). */
const TEXT: Readonly<Record<Engine, RawBuilder<string>>> = {
  postgres: textBy('chr'),
  sqlite: textBy('char'),
};

function textBy(char: 'chr' | 'char'): RawBuilder<string> {
  const columns = COLUMNS.map((name) => sql.ref(`logs.${name}`));
  return sql<string>`(${sql.join(columns, sql` || ${sql.raw(char)}(10) || `)})`;
}

function holdsTexts(engine: Engine, texts: readonly string[]): RawBuilder<SqlBool> {
  const like = sql.raw(engine === 'postgres' ? 'ilike' : 'like');
  return all(texts.map((part) => sql<SqlBool>`${TEXT[engine]} ${like} ${likeOf(part)} escape '\\'`));
}

function contains(engine: Engine, word: string): RawBuilder<SqlBool> {
  const pattern = likeOf(word);
  const like = sql.raw(engine === 'postgres' ? 'ilike' : 'like');
  const columns = ['raw_line', 'decky', 'service', 'attacker_ip'].map(
    (name) => sql`${sql.ref(`logs.${name}`)} ${like} ${pattern} escape '\\'`,
  );
  return sql<SqlBool>`(${sql.join(columns, sql` or `)})`;
}

function hasMember(engine: Engine, name: string, value: string): RawBuilder<SqlBool> {
  if (engine === 'sqlite') {
    // A path, because a bare name that looks like one would be taken for one.
    const path = `$."${name.replaceAll('"', '')}"`;
    const member = sql`json_extract(logs.fields, ${path})`;
    const text = sql`case json_type(logs.fields, ${path}) when 'true' then 'true' when 'false' then 'false' else cast(${member} as text) end`;
    return sql<SqlBool>`(${text} = ${value})`;
  }
  return sql<SqlBool>`(logs.fields::json ->> ${name}::text = ${value})`;
}

/** All texts that the lines' texts contain, as they stand there. */
function textsOf({ exact, fields, words }: LogSearch): string[] {
  return [
    ...words,
    ...exact.filter(({ column }) => column !== 'event_type').map(({ value }) => value),
    ...fields.map(({ value }) => escaped(value)),
  ];
}

/** A trigram search: every three characters that stand side by side are in the text somewhere. */
function matchOf(texts: readonly string[]): string {
  const trigrams = texts.flatMap((text) => {
    const characters = [...text];
    return characters.slice(TRIGRAM - 1).map((_, index) => characters.slice(index, index + TRIGRAM).join(''));
  });
  return [...new Set(trigrams)].map((trigram) => `"${trigram.replaceAll('"', '""')}"`).join(' AND ');
}

const hasTrigram = (text: string) => [...text].length >= TRIGRAM;
const likeOf = (text: string) => `%${text.replace(/[\\%_]/g, (char) => `\\${char}`)}%`;
const escaped = (text: string) => JSON.stringify(text).slice(1, -1);

function all(conditions: readonly RawBuilder<unknown>[]): RawBuilder<SqlBool> {
  return conditions.length === 0 ? sql<SqlBool>`1 = 1` : sql<SqlBool>`${sql.join([...conditions], sql` and `)}`;
}
