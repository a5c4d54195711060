import type { Entry } from '../bus/entry.ts';
import type { JsonObject } from '../bus/event.ts';
import { eventOf } from '../bus/logged-event.ts';
import type { Db } from '../db/database.ts';
import type { LogRow } from '../db/schema.ts';
import { projectedSnapshot } from '../projection/snapshot.ts';
import type { Narrowing, StreamDeclaration } from '../stream/declaration.ts';
import type { Snapshot } from '../stream/snapshot.ts';
import { EpochOrdinals } from './epoch-ordinals.ts';
import { LOG_LINE_CHANNEL, LOG_LINE_TOPIC, lineId, logRowOf } from './log-line.ts';
import { logQueryOf } from './query.ts';
import { linesAfter } from './repository.ts';
import { LOG_PARAMETERS, logFrameSchema } from './schemas.ts';
import { isEmptySearch, isFound, isOpenRange, type LogQuery } from './search.ts';
import { readStats, type StatsBoard } from './stats.ts';

export interface LogStreamParts {
  readonly db: Db;
  readonly board: StatsBoard;
}

const TOPICS = [LOG_LINE_TOPIC];
/** Contract §3.6. */
const STATS_EVERY_MS = 10_000;
/** Lines that one who asks for what came after an id is given at once; the newest of them. */
const MAX_BACKLOG = 1000;
/** DECNET's own id of a line, in `lastEventId`. A cursor has a dot. */
const LINE_ID = /^-?\d{1,16}$/;

/** `GET /stream` (contract §3.6, P1.1): every line as it comes, and the statistics. All frames are messages. */
export function logStream({ db, board }: LogStreamParts): StreamDeclaration {
  const ordinals = new EpochOrdinals(db);
  return {
    name: 'logs',
    path: '/stream',
    channel: () => LOG_LINE_CHANNEL,
    eventName: () => 'message',
    snapshotEvent: 'message',
    topics: TOPICS,
    summary: 'Follow the lines that deckies log, with statistics every ten seconds',
    snapshotSchema: logFrameSchema,
    eventSchema: logFrameSchema,
    parameters: LOG_PARAMETERS,
    async narrow(_id, query): Promise<Narrowing> {
      const asked = logQueryOf({
        search: query.get('search') ?? '',
        start_time: query.get('start_time') ?? '',
        end_time: query.get('end_time') ?? '',
      });
      const after = afterOf(query);
      if (board.current === undefined) await board.refresh();
      return {
        key: keyOf(asked, after),
        picks: (entry) => isShown(entry, asked),
        dataOf: (entry, epoch) => logsFrame(rowOf(entry), lineId(ordinals.of(entry.epoch ?? epoch), entry.offset)),
        learn: (epoch) => ordinals.load(epoch),
        snapshot: () => logSnapshot(db, board, asked, after),
        startsAnew: LINE_ID.test(query.get('lastEventId') ?? ''),
        aside: { everyMs: STATS_EVERY_MS, frames: () => statsFrames(board) },
      };
    },
  };
}

/** The line after which a client wants them; `undefined` for one that wants what comes from now on. */
function afterOf(query: URLSearchParams): number | undefined {
  const text = query.get('lastEventId') ?? '';
  return LINE_ID.test(text) && Number(text) !== 0 ? Number(text) : undefined;
}

function keyOf({ search, range }: LogQuery, after: number | undefined): string {
  return isEmptySearch(search) && isOpenRange(range) && after === undefined
    ? 'all'
    : encodeURIComponent(JSON.stringify([search, range, after ?? null]));
}

function logSnapshot(db: Db, board: StatsBoard, asked: LogQuery, after: number | undefined): Promise<Snapshot> {
  return projectedSnapshot(db, 'logs', LOG_LINE_CHANNEL, async (trx) => {
    if (after !== undefined) {
      // The newest first: pages take the first for the newest.
      const rows = (await linesAfter(trx, after, MAX_BACKLOG)).filter((row) => isFound(row, asked.search, asked.range));
      if (rows.length > 0) return { type: 'logs', data: rows };
    }
    const stats = await readStats(trx);
    board.note(stats);
    return { type: 'stats', data: stats };
  });
}

function statsFrames(board: StatsBoard): string[] {
  const stats = board.current;
  return stats === undefined ? [] : [JSON.stringify({ type: 'stats', data: stats })];
}

function isShown(entry: Entry, { search, range }: LogQuery): boolean {
  const row = rowOf(entry);
  return row !== undefined && isFound(row, search, range);
}

/** Of each entry, as long as somebody holds it: every reader asks, some of them twice. */
const rows = new WeakMap<Entry, { readonly row: LogRow | undefined }>();

/** The row of an entry, without an id: that needs the epoch in which the entry is read. */
function rowOf(entry: Entry): LogRow | undefined {
  let known = rows.get(entry);
  if (known === undefined) {
    known = { row: logRowOf(eventOf(entry), 0) };
    rows.set(entry, known);
  }
  return known.row;
}

function logsFrame(row: LogRow | undefined, id: number): string {
  const data: JsonObject[] = row === undefined ? [] : [{ ...row, id }];
  return JSON.stringify({ type: 'logs', data });
}
