import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { integer, orNull, pageOf, ref, time } from '../http/schemas.ts';

export const outboxModels = {
  SetAsideEvent: t.Object({
    event_id: t.String(),
    topic: t.String(),
    type: t.String(),
    ts: t.Number({ description: 'Seconds since the epoch' }),
    bytes: t.Unsafe<number>({ ...integer, description: 'Of the payload' }),
    revisions: t.String({ description: 'JSON: channel → revision' }),
    forget: orNull(t.String({ description: 'A channel that the log forgets with it' })),
    tries: integer,
    error: t.String(),
    substituted: t.Boolean({ description: 'An event that says so was published in its place' }),
    set_aside_at: time,
    payload_start: t.String(),
  }),
};

export const outboxOperations = {
  list: operation('listSetAsideEvents', {
    tag: 'events',
    summary: 'List committed events that could not be published',
    access: 'admin',
    answers: { 200: pageOf(ref('SetAsideEvent')) },
    refuses: [422],
  }),
  retry: operation('retrySetAsideEvent', {
    tag: 'events',
    summary: 'Publish an event after all that was set aside',
    access: 'admin',
    answers: { 202: t.Object({ event_id: t.String() }) },
    refuses: [404],
  }),
  discard: operation('discardSetAsideEvent', {
    tag: 'events',
    summary: 'Give up an event that was set aside',
    access: 'admin',
    answers: { 204: null },
    refuses: [404],
  }),
};
