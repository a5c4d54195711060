import { t } from 'elysia';
import { BODY_REFUSALS, operation } from '../http/operation.ts';
import { integer, ref } from '../http/schemas.ts';

export const ingressModels = {
  Published: t.Object({
    id: t.String({ description: 'Of the event' }),
    epoch: t.String({ description: 'The life of the log that the offsets belong to' }),
    offsets: t.Record(t.String(), integer, { description: 'Channel → number of the event in it' }),
    duplicate: t.Boolean({ description: 'The id was published before: these are the places of the first time' }),
  }),
};

export const ingressOperations = {
  publish: operation('publishEvent', {
    tag: 'events',
    summary: 'Publish an event',
    description:
      'Answered once Redis has it. With an id of your own it may be sent again after a lost answer: it is published once.',
    access: 'publish',
    answers: { 202: ref('Published') },
    refuses: [409, ...BODY_REFUSALS],
  }),
};
