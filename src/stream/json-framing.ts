import { type FrameHead, type Framing, toBytes } from './framing.ts';

/**
 * A JSON object on each line, `{"event":…,"id":…,"data":…}`: for what carries messages or lines and keeps itself alive.
 * Whoever carries several streams in one adds which one it is.
 */
export const jsonFraming: Framing = {
  name: 'json',

  frame(head, data) {
    // Between JSON's tokens a line break may be a blank; inside of strings there is none.
    const line = LINE_BREAK.test(data) ? data.replace(LINE_BREAKS, ' ') : data;
    return `${opening(head)}${line}}\n`;
  },

  around: (head, json) => [toBytes(opening(head)), json, LINE_END],

  keepalive: new Uint8Array(0),

  prelude: () => NOTHING,

  farewell: (retryMs) => toBytes(jsonFraming.frame({ event: 'end' }, `{"retry_ms":${Math.round(retryMs)}}`)),
};

const NOTHING = new Uint8Array(0);
const LINE_END = toBytes('}\n');
const LINE_BREAK = /[\r\n]/;
const LINE_BREAKS = /[\r\n]/g;

function opening({ id, event }: FrameHead): string {
  const name = event === undefined ? '' : `"event":${JSON.stringify(event)},`;
  return `{${name}${id === undefined ? '' : `"id":${JSON.stringify(id)},`}"data":`;
}
