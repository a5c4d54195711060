import { isRecord, parseJson, textField } from './json.ts';

/** Frames that steer the stream instead of telling of an event. */
export const CONTROL_NAMES = ['snapshot', 'ready', 'resumed', 'reset', 'position', 'evicted'] as const;
export type ControlName = (typeof CONTROL_NAMES)[number];

/** One frame of a stream as the page looks at it. */
export interface Frame {
  /** The SSE event name; `message` for an unnamed frame. */
  readonly name: string;
  /** The SSE id, `<epoch>.<offset>.<proof>`. */
  readonly id: string;
  /** Which control frame it is; `undefined` for an event. */
  readonly control: ControlName | undefined;
  /** On filtered streams: the id that this connection's previous frame had reached. */
  readonly prev: string | undefined;
  /** The parsed data. */
  readonly data: unknown;
}

/** Reads a frame from what an `EventSource` dispatches. */
export function readFrame(name: string, id: string, text: string): Frame {
  const data = parseJson(text);
  const control = CONTROL_NAMES.find((candidate) => candidate === name);
  return { name, id, control, prev: isRecord(data) ? textField(data, 'prev') : undefined, data };
}
