import { t } from 'elysia';
import { BODY_REFUSALS, operation } from '../http/operation.ts';
import { integer, jsonObject, ref } from '../http/schemas.ts';
import { MOST_EVENTS, OWN_ID } from './publications.ts';

export const ingressModels = {
  Published: t.Object({
    id: t.String({ description: 'Of the event' }),
    epoch: t.String({ description: 'The life of the log that the offsets belong to' }),
    offsets: t.Record(t.String(), integer, { description: 'Channel → number of the event in it' }),
    duplicate: t.Boolean({ description: 'The id was published before: these are the places of the first time' }),
  }),
};

const event = t.Object({
  topic: t.String({ minLength: 1 }),
  type: t.Optional(t.String()),
  payload: jsonObject,
  id: t.Optional(t.String({ pattern: OWN_ID.source, description: 'Of your own: the event may be sent again' })),
});

const results = t.Object({
  results: t.Array(
    t.Union([ref('Published'), t.Object({ error: t.Object({ status: integer, detail: t.String() }) })]),
    { description: 'One for each event, in their order' },
  ),
});

export const ingressOperations = {
  publish: operation('publishEvent', {
    tag: 'events',
    summary: 'Publish an event, or a list of them',
    description:
      'Answered once Redis has it. With an id of your own it may be sent again after a lost answer: it is published once. ' +
      'A list is published in its order, and answered for each.',
    access: 'publish',
    body: t.Union([event, t.Array(event, { minItems: 1, maxItems: MOST_EVENTS })]),
    answers: {
      202: t.Union([ref('Published'), results]),
      207: { note: 'Some were refused', content: { 'application/json': results } },
    },
    refuses: [409, ...BODY_REFUSALS],
  }),
};
