import { isJsonObject, type JsonObject, newEventId } from '../../bus/event.ts';

/** A line of input: an event to publish, or why it is none. */
export type EventLine =
  | { readonly line: number; readonly event: JsonObject & { readonly id: string }; readonly bytes: number }
  | { readonly line: number; readonly problem: string };

/** Bytes of a line: an event has 2 MiB at most, with what travels around it. */
const MOST_LINE = 2 * 1024 * 1024 - 1024;
/** What travels together: as much as a server takes in one message. */
const MOST = { events: 1000, bytes: MOST_LINE } as const;

/**
 * The events of newline-delimited JSON, together as they come: whoever types or pipes slowly waits for no batch to fill, and
 * while a batch travels nothing is read. Each gets an id where it has none, so that it can be sent again.
 */
export async function* eventBatches(input: AsyncIterable<Uint8Array>): AsyncGenerator<EventLine[], void, undefined> {
  for await (const lines of linesOf(input)) {
    let [batch, bytes]: [EventLine[], number] = [[], 0];
    for (const { line, text } of lines) {
      if (text !== undefined && text.trim() === '') continue;
      const parsed = text === undefined ? { line, problem: `longer than ${MOST_LINE} bytes` } : parse(line, text);
      const size = 'bytes' in parsed ? parsed.bytes : 0;
      if (batch.length >= MOST.events || bytes + size > MOST.bytes) {
        yield batch;
        [batch, bytes] = [[], 0];
      }
      batch.push(parsed);
      bytes += size;
    }
    if (batch.length > 0) yield batch;
  }
}

function parse(line: number, text: string): EventLine {
  let event: unknown;
  try {
    event = JSON.parse(text);
  } catch {
    return { line, problem: 'no JSON' };
  }
  if (!isJsonObject(event)) return { line, problem: 'no JSON object' };
  const { topic, type, payload, id = newEventId() } = event;
  if (typeof id !== 'string') return { line, problem: 'id must be a string' };
  const whole = { topic, type, payload, id };
  const bytes = Buffer.byteLength(JSON.stringify(whole)) + 1;
  return bytes > MOST_LINE ? { line, problem: `larger than ${MOST_LINE} bytes` } : { line, event: whole, bytes };
}

interface Line {
  readonly line: number;
  /** Absent where it is too long to be kept. */
  readonly text: string | undefined;
}

/** Lines, those together that one read brought. */
async function* linesOf(input: AsyncIterable<Uint8Array>): AsyncGenerator<Line[], void, undefined> {
  let [line, rest, isTooLong] = [0, Buffer.alloc(0), false];
  const take = (piece: Uint8Array): Line => {
    const bytes = rest.length === 0 ? Buffer.from(piece) : Buffer.concat([rest, piece]);
    const isKept = !isTooLong && bytes.length <= MOST_LINE;
    [line, rest, isTooLong] = [line + 1, Buffer.alloc(0), false];
    return { line, text: isKept ? bytes.toString() : undefined };
  };
  for await (const chunk of input) {
    const lines: Line[] = [];
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      lines.push(take(chunk.subarray(from, end)));
      from = end + 1;
    }
    const tail = chunk.subarray(from);
    isTooLong ||= rest.length + tail.length > MOST_LINE;
    rest = isTooLong ? Buffer.alloc(0) : Buffer.concat([rest, tail]);
    if (lines.length > 0) yield lines;
  }
  if (rest.length > 0 || isTooLong) yield [take(new Uint8Array())];
}
