import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { integer, oneOf, orNull } from '../http/schemas.ts';

const check = t.Object({ ok: t.Boolean() });

/** A process has the checks and the numbers of what runs in it. */
const readiness = t.Object(
  {
    status: oneOf(['ready', 'not ready']),
    checks: t.Object(
      {
        database: check,
        redis: check,
        tail: t.Optional(
          t.Object({
            ok: t.Boolean(),
            epoch: t.String(),
            offset: integer,
            seconds_since_caught_up: orNull(t.Number()),
          }),
        ),
        relay: t.Optional(
          t.Object({
            ok: t.Boolean(),
            waiting: t.Optional(t.Unsafe<number>({ ...integer, description: 'Events in the outbox' })),
            oldest_seconds: t.Optional(t.Number()),
            set_aside: t.Optional(t.Unsafe<number>({ ...integer, description: 'Events that could not be published' })),
          }),
        ),
        draining: t.Optional(check),
      },
      { additionalProperties: t.Object({ ok: t.Boolean() }, { additionalProperties: true }) },
    ),
    streams: t.Optional(t.Unsafe<number>({ ...integer, description: 'Open on this node' })),
    bus_socket: t.Optional(t.Record(t.String(), integer, { description: "Counters of DECNET's bus socket" })),
  },
  { additionalProperties: true },
);

export const healthOperations = {
  alive: operation('readLiveness', {
    tag: 'health',
    summary: 'Whether the process is alive',
    access: 'public',
    answers: { 200: t.Object({ status: oneOf(['ok']) }) },
  }),
  ready: operation('readReadiness', {
    tag: 'health',
    summary: 'Whether the process can serve: database, Redis, tail and relay',
    access: 'public',
    answers: {
      200: readiness,
      503: { note: 'It cannot; a check says why', content: { 'application/json': readiness } },
    },
  }),
};
