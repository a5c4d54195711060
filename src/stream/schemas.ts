import { t } from 'elysia';
import { operation, type Parameter } from '../http/operation.ts';
import { integer, jsonObject, oneOf } from '../http/schemas.ts';
import type { StreamDeclaration } from './declaration.ts';

/** `<epoch>.<offset>.<proof>`, and what may follow; opaque to clients but for the offset. */
export const cursor = t.String({ pattern: '^[0-9a-z.]+$', description: 'The id of a frame: where a stream goes on' });

/** The data of the frames that the protocol has of its own, by their names. */
export const PROTOCOL_FRAMES = {
  ready: { summary: 'The position; this stream has no snapshot', data: t.Object({ position: cursor }) },
  resumed: {
    summary: 'The cursor is honoured; what was missed follows, up to this position',
    data: t.Object({ position: cursor }),
  },
  reset: {
    summary: 'The cursor is not honoured; a snapshot or ready follows',
    data: t.Object({ reason: oneOf(['trimmed', 'epoch', 'ahead', 'malformed']) }),
  },
  position: {
    summary: 'Moves the id on, past events that this stream does not show',
    data: t.Object({ prev: cursor }),
  },
  evicted: {
    summary: 'Another stream of the user took this one’s slot; the stream ends',
    data: t.Object({ detail: t.String() }),
  },
} as const;

/** The data of an event’s frame. */
export const eventData = t.Object({
  prev: t.Optional(
    t.String({ description: 'The id before, where ids are not consecutive: the chain stays checkable' }),
  ),
  topic: t.String(),
  type: t.String(),
  ts: t.Number({ description: 'Seconds since the epoch' }),
  payload: jsonObject,
});

const RESUMING: readonly Parameter[] = [
  { name: 'Last-Event-ID', in: 'header', description: 'The id of the last frame that you had', schema: cursor },
  { name: 'last_event_id', in: 'query', description: 'The same, where no header can be set', schema: cursor },
  {
    name: 'once',
    in: 'query',
    description: '1: the snapshot, or the missed events, and the end',
    schema: oneOf(['1', '0']),
  },
];

const TOPICS: Parameter = {
  name: 'topics',
  in: 'query',
  description: 'Comma list of patterns: * stands for one token, > for the rest',
  schema: t.String({ default: '>' }),
};

/** What the document says of `GET <path>` of a declared stream. */
export function streamOperation({ name, summary, path, takesPatterns = false }: StreamDeclaration) {
  return operation(`stream${name.charAt(0).toUpperCase()}${name.slice(1)}`, {
    tag: 'streams',
    summary: summary ?? `The stream ${name}`,
    description: 'Server-sent events that resume where they were left; every refusal comes before the stream starts.',
    access: 'stream',
    parameters: [...(takesPatterns ? [TOPICS] : []), ...RESUMING],
    answers: {
      200: {
        note: 'The stream, until the client or the session ends it',
        content: { 'text/event-stream': t.String() },
      },
    },
    refuses: path.includes(':id') ? [404, 422, 429] : [422, 429],
  });
}

export const streamOperations = {
  cut: operation('cutStreams', {
    tag: 'streams',
    summary: 'Drop your own streams on this node at the socket, to see them come back',
    access: 'viewer',
    answers: { 200: t.Object({ cut: integer }) },
  }),
};
