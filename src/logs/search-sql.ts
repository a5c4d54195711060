import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { Db, Engine } from '../db/database.ts';
import { countRange, linesOf } from './counts.ts';
import { isOpenRange, type LogQuery, type LogSearch } from './search.ts';

/** A condition that at most so many lines fulfil is followed line by line. */
const FEW = 20_000;
/** A text of fewer characters has no trigram to look for. */
const TRIGRAM = 3;
/** So many of the newest lines are looked at for a text that no index helps to find. */
const NEWEST = 10_000;

/** Parts of a statement that reads lines. */
export interface Matching {
  readonly from: RawBuilder<unknown>;
  readonly where: RawBuilder<unknown>;
  /** The newest first; found by their text, those that came last. */
  readonly order: RawBuilder<unknown>;
}

/** How the lines are found; PostgreSQL chooses the index by itself. */
type Way = { readonly by: 'column'; readonly column?: string } | { readonly by: 'text' } | { readonly by: 'newest' };

/** The lines that a query asks for. */
export async function matching(db: Db, engine: Engine, query: LogQuery): Promise<Matching> {
  const way = await wayTo(db, engine, query);
  const conditions = conditionsOf(engine, query, way);
  const time = sql`logs.timestamp desc, logs.id desc`;
  if (way.by === 'text') {
    const match = matchOf(textsOf(query.search));
    return {
      // The search first, from its end: what it finds is looked at line by line, until there is enough.
      from: sql`log_search cross join logs on logs.id = log_search.rowid`,
      where: all([sql`log_search match ${match}`, ...conditions]),
      order: sql`log_search.rowid desc`,
    };
  }
  if (way.by === 'newest') {
    const newest = sql`(select * from logs order by timestamp desc, id desc limit ${NEWEST}) as logs`;
    return { from: newest, where: all(conditions), order: time };
  }
  return { from: sql`logs`, where: all(conditions), order: time };
}

async function wayTo(db: Db, engine: Engine, { search, range }: LogQuery): Promise<Way> {
  const isIndexed = textsOf(search).some(hasTrigram);
  const isLoose = search.words.length + search.fields.length > 0;
  if (isLoose && search.exact.length === 0 && !isIndexed && isOpenRange(range)) return { by: 'newest' };
  if (engine === 'postgres') return { by: 'column' };
  let fewest: { column: string; lines: number } | undefined;
  for (const { column, value } of search.exact) {
    const lines = await linesOf(db, column, value);
    if (fewest === undefined || lines < fewest.lines) fewest = { column, lines };
  }
  const isOne = search.exact.length === 1 && !isLoose;
  if (fewest !== undefined && (fewest.lines <= FEW || isOne || !isIndexed))
    return { by: 'column', column: fewest.column };
  if (!isIndexed) return { by: 'column' };
  if (!isOpenRange(range) && (await countRange(db, range)) <= FEW) return { by: 'column', column: 'timestamp' };
  return { by: 'text' };
}

function conditionsOf(engine: Engine, { search, range }: LogQuery, way: Way): RawBuilder<SqlBool>[] {
  // A plus keeps SQLite from taking the index of a column that says less than the chosen one.
  const isChosen = (name: string) => engine === 'postgres' || (way.by === 'column' && (way.column ?? name) === name);
  const column = (name: string) => {
    const ref = sql.ref(`logs.${name}`);
    // Behind the chosen column its index has the time.
    return isChosen(name) || (name === 'timestamp' && way.by === 'column') ? ref : sql`+${ref}`;
  };
  const conditions = search.exact.map(({ column: name, value }) => sql<SqlBool>`${column(name)} = ${value}`);
  if (range.start !== undefined) conditions.push(sql<SqlBool>`${column('timestamp')} >= ${range.start}`);
  if (range.end !== undefined) conditions.push(sql<SqlBool>`${column('timestamp')} <= ${range.end}`);
  for (const { name, value } of search.fields) conditions.push(...hasMember(engine, name, value));
  for (const word of search.words) conditions.push(...contains(engine, word));
  return conditions;
}

/** PostgreSQL's index of texts (migration 013); the same expression. */
const TEXT = sql`(logs.raw_line || chr(10) || logs.decky || chr(10) || logs.service || chr(10) || logs.attacker_ip || chr(10) || logs.fields)`;

function contains(engine: Engine, word: string): RawBuilder<SqlBool>[] {
  const pattern = likeOf(word);
  const like = sql.raw(engine === 'postgres' ? 'ilike' : 'like');
  const columns = ['raw_line', 'decky', 'service', 'attacker_ip'].map(
    (name) => sql`${sql.ref(`logs.${name}`)} ${like} ${pattern} escape '\\'`,
  );
  const isThere = sql<SqlBool>`(${sql.join(columns, sql` or `)})`;
  if (engine === 'sqlite' || !hasTrigram(word)) return [isThere];
  return [sql<SqlBool>`${TEXT} ilike ${pattern} escape '\\'`, isThere];
}

function hasMember(engine: Engine, name: string, value: string): RawBuilder<SqlBool>[] {
  if (engine === 'sqlite') {
    // A path, because a bare name that looks like one would be taken for one.
    const path = `$."${name.replaceAll('"', '')}"`;
    const member = sql`json_extract(logs.fields, ${path})`;
    const text = sql`case json_type(logs.fields, ${path}) when 'true' then 'true' when 'false' then 'false' else cast(${member} as text) end`;
    return [sql<SqlBool>`${text} = ${value}`];
  }
  const isMember = sql<SqlBool>`logs.fields::json ->> ${name}::text = ${value}`;
  // As it stands in the JSON, where it is a text.
  return hasTrigram(value) ? [sql<SqlBool>`${TEXT} ilike ${likeOf(escaped(value))} escape '\\'`, isMember] : [isMember];
}

/** All texts that the lines' texts contain. */
function textsOf({ exact, fields, words }: LogSearch): string[] {
  return [...words, ...exact.map(({ value }) => value), ...fields.map(({ value }) => escaped(value))];
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

function all(conditions: readonly RawBuilder<unknown>[]): RawBuilder<unknown> {
  return conditions.length === 0 ? sql`1 = 1` : sql.join([...conditions], sql` and `);
}
