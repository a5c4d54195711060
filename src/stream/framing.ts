/** What is before the data of a frame. */
export interface FrameHead {
  /** The cursor that the frame leads to; absent on frames that do not move it. */
  readonly id?: string;
  /** The frame's name; absent for the default, which a browser's EventSource calls `message`. */
  readonly event?: string | undefined;
}

/**
 * How frames look on the wire. A connection says which frame comes next; a framing says which bytes that is. Frames follow
 * one another without anything between them. Connections with the same view and the same framing share their bytes.
 */
export interface Framing {
  /** Same name, same bytes. */
  readonly name: string;
  /** A live event, as text: many of them are encoded together. @param data a JSON object on one line */
  frame(head: FrameHead, data: string): string;
  /** A frame around a value that is JSON already, UTF-8 on one line, and may be shared: in pieces, none of them copied. */
  around(head: FrameHead, json: Uint8Array): readonly Uint8Array[];
  /** What a quiet stream says so that nobody gives it up; empty where what carries it does that by itself. */
  readonly keepalive: Uint8Array;
  /** How a stream begins. @param retryMs milliseconds that a client waits before it comes back */
  prelude(retryMs: number): Uint8Array;
  /** How a stream ends that the server has ended. @param retryMs as above */
  farewell(retryMs: number): Uint8Array;
}

const encoder = new TextEncoder();

/** UTF-8. */
export function toBytes(text: string): Uint8Array {
  return encoder.encode(text);
}

/** A frame that carries a value as JSON. */
export function jsonFrame(framing: Framing, head: FrameHead, data: unknown): Uint8Array {
  return toBytes(framing.frame(head, JSON.stringify(data)));
}
