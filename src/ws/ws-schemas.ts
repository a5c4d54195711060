import { type TSchema, t } from 'elysia';
import { operation } from '../http/operation.ts';
import { integer, jsonObject, oneOf, orNull, ref } from '../http/schemas.ts';
import { OWN_ID } from '../ingress/publications.ts';
import { cursor } from '../stream/schemas.ts';
import { WS_CODES } from './ws-codes.ts';

export const wsOperations = {
  open: operation('openWebSocket', {
    tag: 'streams',
    summary: 'Open the WebSocket bridge: many streams on one socket, and publishing',
    description: 'Who it is may also be said in the first message. A request that is no handshake is told 426.',
    access: 'public',
    answers: {
      101: { note: 'The socket is open' },
      426: { note: 'This is a WebSocket', content: { 'application/json': ref('Error') } },
    },
    refuses: [403],
  }),
};

/** One kind of message: what it is for, and its form. */
export interface WsMessage {
  readonly summary: string;
  readonly schema: TSchema;
}

const NAMES = Object.keys(WS_CODES);
const failure = {
  code: t.Unsafe<number>({ type: 'integer', enum: Object.values(WS_CODES).map(({ code }) => code) }),
  name: oneOf(NAMES),
  retry: t.Boolean({ description: 'The same may succeed later' }),
  detail: t.String(),
};

const sid = t.String({ minLength: 1, maxLength: 64, description: 'Your name for the stream' });
const refField = {
  ref: t.Optional(t.Union([t.String({ maxLength: 64 }), t.Number()], { description: 'Comes back with the answer' })),
};

const message = (op: string, summary: string, fields: Readonly<Record<string, TSchema>> = {}): WsMessage => ({
  summary,
  schema: t.Object({ op: t.Unsafe<string>({ const: op }), ...fields }),
});
const asked = (op: string, summary: string, fields: Readonly<Record<string, TSchema>> = {}) =>
  message(op, summary, { ...refField, ...fields });

const publication = t.Object({
  topic: t.String({ minLength: 1 }),
  type: t.Optional(t.String()),
  payload: t.Optional(jsonObject),
  id: t.Optional(t.String({ pattern: OWN_ID.source, description: 'Of your own: the event may be sent again' })),
});

/** What a client may say. */
export const CLIENT_MESSAGES = {
  auth: asked('auth', 'Signs in, or goes on with a newer token of the same user', { token: t.String() }),
  subscribe: asked('subscribe', 'Opens a stream, from a cursor or afresh', {
    sid,
    stream: t.String({ description: 'A path below /api/v1 with its query, such as /identities/events' }),
    cursor: t.Optional(orNull(cursor)),
  }),
  unsubscribe: asked('unsubscribe', 'Closes a stream', { sid }),
  publish: asked('publish', 'Publishes one event, or up to 1000 in order', {
    event: t.Optional(publication),
    events: t.Optional(t.Array(publication, { minItems: 1, maxItems: 1000 })),
  }),
  ping: asked('ping', 'Asks for a sign of life'),
} as const;

/** What the server says beside frames. */
export const SERVER_MESSAGES = {
  hello: message('hello', 'The first message: what holds on this socket', {
    version: integer,
    auth_ms: integer,
    max_message_bytes: integer,
    max_in_flight_bytes: integer,
  }),
  signedIn: asked('auth', 'Somebody has signed in', {
    user: t.String(),
    role: oneOf(['viewer', 'admin', 'account']),
    expires_at: orNull(t.Number({ description: 'Milliseconds since the epoch' })),
  }),
  subscribed: asked('subscribed', 'The stream is open; its frames follow', { sid }),
  unsubscribed: asked('unsubscribed', 'Nothing more comes of the stream', { sid }),
  published: asked('published', 'Redis has the events; one result for each, in order', {
    results: t.Array(t.Union([ref('Published'), t.Object({ error: t.Object(failure) })])),
  }),
  pong: asked('pong', 'A sign of life'),
  bye: message('bye', 'The node stops; come back', { retry_ms: integer }),
  error: asked('error', 'Something that was asked for cannot be had', {
    re: t.Optional(t.String({ description: 'The op that it answers' })),
    sid: t.Optional(sid),
    ...failure,
  }),
} as const;

/** Part of a frame that is larger than one message may be. */
export const PART_MESSAGE: WsMessage = {
  summary: 'A part of a large frame: put them together until more is false, and parse',
  schema: t.Object({ sid, part: t.String(), more: t.Boolean() }),
};

/** The end of a stream that goes on being open to be asked for. */
export const END_MESSAGE: WsMessage = {
  summary: 'The stream ends; come back after retry_ms, or at once when it was dropped',
  schema: t.Object({
    sid,
    event: t.Unsafe<string>({ const: 'end' }),
    data: t.Union([t.Object({ retry_ms: integer }), t.Object({ dropped: t.Unsafe<true>({ const: true }) })]),
  }),
};

export const frameSid = { sid };
