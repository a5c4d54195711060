/**
 * Server-sent events on the wire (WHATWG HTML §9.2.5). No value can end its field: line breaks in `data` become further
 * `data:` lines, as the standard says; in `id` and `event`, where they have no meaning, they are replaced.
 */

const encoder = new TextEncoder();
const FRAME_END = encoder.encode('\n\n');

/** What ends a line for a parser, and NUL, which makes it ignore an id. */
const FIELD_BREAK = /[\r\n\0]/;
const FIELD_BREAKS = /[\r\n\0]/g;
const LINE_BREAK = /\r\n|\r|\n/;

export interface Frame {
  /** Sets the client's `Last-Event-ID`. */
  readonly id?: string;
  /** The event's name; absent for the default, `message`. */
  readonly event?: string | undefined;
  readonly data: string;
}

/** One frame as text. */
export function encodeFrame({ id, event, data }: Frame): string {
  const head =
    (id === undefined ? '' : `id: ${oneLine(id)}\n`) + (event === undefined ? '' : `event: ${oneLine(event)}\n`);
  if (!data.includes('\n') && !data.includes('\r')) return `${head}data: ${data}\n\n`;
  return `${head}${data
    .split(LINE_BREAK)
    .map((line) => `data: ${line}\n`)
    .join('')}\n`;
}

/** A frame around JSON that is encoded already, on one line, and may be shared: in pieces, none of them copied. */
export function frameAround(frame: Omit<Frame, 'data'>, json: Uint8Array): Uint8Array[] {
  const empty = encodeFrame({ ...frame, data: '' });
  return [encoder.encode(empty.slice(0, -2)), json, FRAME_END];
}

/** A frame that carries a value as JSON. */
export function encodeJsonFrame(frame: Omit<Frame, 'data'> & { readonly data: unknown }): string {
  return encodeFrame({ ...frame, data: JSON.stringify(frame.data) });
}

/** A comment: keeps proxies and clients from giving up, and is not an event. */
export const KEEPALIVE = encoder.encode(': keepalive\n\n');

/** @param ms milliseconds that a client waits before it reconnects */
export function encodeRetry(ms: number): string {
  return `retry: ${Math.round(ms)}\n\n`;
}

export function toBytes(text: string): Uint8Array {
  return encoder.encode(text);
}

/**
 * Adds `prev` to the data of a live frame: the id that the connection's previous frame had reached, so that the client
 * can check the chain where ids are not consecutive.
 * @param data a JSON object on one line
 */
export function withPrevious(data: string, previous: string): string {
  const rest = data.slice(1);
  return `{"prev":${JSON.stringify(previous)}${rest.startsWith('}') ? '' : ','}${rest}`;
}

function oneLine(value: string): string {
  return FIELD_BREAK.test(value) ? value.replace(FIELD_BREAKS, '\ufffd') : value;
}
