import { type FrameHead, type Framing, toBytes } from './framing.ts';

/**
 * Server-sent events on the wire (WHATWG HTML §9.2.5). No value can end its field: line breaks in `data` become further
 * `data:` lines, as the standard says; in `id` and `event`, where they have no meaning, they are replaced.
 */
export const sseFraming: Framing = {
  name: 'sse',

  frame(head, data) {
    if (!data.includes('\n') && !data.includes('\r')) return `${fieldsOf(head)}data: ${data}\n\n`;
    return `${fieldsOf(head)}${data
      .split(LINE_BREAK)
      .map((line) => `data: ${line}\n`)
      .join('')}\n`;
  },

  around: (head, json) => [toBytes(`${fieldsOf(head)}data: `), json, FRAME_END],

  // A comment: keeps proxies and clients from giving up, and is not an event.
  keepalive: toBytes(': keepalive\n\n'),

  prelude: (retryMs) => toBytes(`${retry(retryMs)}: keepalive\n\n`),

  farewell: (retryMs) => toBytes(retry(retryMs)),
};

const FRAME_END = toBytes('\n\n');

/** What ends a line for a parser, and NUL, which makes it ignore an id. */
const FIELD_BREAK = /[\r\n\0]/;
const FIELD_BREAKS = /[\r\n\0]/g;
const LINE_BREAK = /\r\n|\r|\n/;

function fieldsOf({ id, event }: FrameHead): string {
  return (id === undefined ? '' : `id: ${oneLine(id)}\n`) + (event === undefined ? '' : `event: ${oneLine(event)}\n`);
}

function oneLine(value: string): string {
  return FIELD_BREAK.test(value) ? value.replace(FIELD_BREAKS, '\ufffd') : value;
}

function retry(ms: number): string {
  return `retry: ${Math.round(ms)}\n\n`;
}
