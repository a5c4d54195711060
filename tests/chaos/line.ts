import { RawClient } from './raw-client.ts';

/** A frame as it came: the fields that the server sent, nothing remembered from the frame before. */
export interface RawFrame {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: string;
}

export type OnFrame = (frame: RawFrame) => void;

/** What carries a client's stream, once. */
export interface Line {
  /** How the stream was answered, as HTTP would say it; 0 before it was. */
  readonly status: number;
  readonly ended: boolean;
  /** Stops reading, so that the server's side fills up. */
  pause(): void;
  resume(): void;
  /** Goes away; what had arrived and was not read is not read. */
  vanish(): void;
}

/** A way to a stream. */
export interface Way {
  readonly name: string;
  /**
   * Resolves when connected; the answer comes later. A refused connection is one that has ended.
   * @param path below `/api/v1`
   * @param cursor the last id that the client has had; empty for none
   */
  open(url: string, path: string, cursor: string, onFrame: OnFrame): Promise<Line>;
}

/** By an EventSource of its own. */
export function bySse(token: string): Way {
  return {
    name: 'sse',
    open: (url, path, cursor, onFrame) => {
      const headers = { authorization: `Bearer ${token}`, ...(cursor === '' ? {} : { 'last-event-id': cursor }) };
      return RawClient.open(`${url}/api/v1${path}`, headers, onFrame);
    },
  };
}
