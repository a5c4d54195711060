import { type TSchema, t } from 'elysia';

/**
 * Building blocks of what is written about requests and answers. Answers are described and never checked while they are
 * sent: a schema in Elysia's `response` would cost every request, strip fields and turn a mistake of ours into a 422.
 */

/** Elysia's own integer also takes digits in a string; answers hold none. */
export const integer = t.Unsafe<number>({ type: 'integer' });
/** ISO 8601, in UTC. */
export const time = t.String({ format: 'date-time' });
/** JSON of any shape. */
export const json = t.Unknown();
export const jsonObject = t.Record(t.String(), json);

export const orNull = <T extends TSchema>(schema: T) => t.Union([schema, t.Null()]);

export const oneOf = <T extends string>(values: readonly T[], description?: string) =>
  t.Unsafe<T>({ type: 'string', enum: [...values], ...(description === undefined ? {} : { description }) });

/** A shared schema, by its name in `openapi/models.ts`. */
export const ref = (name: string) => t.Unsafe<unknown>({ $ref: `#/components/schemas/${name}` });

/** One page of a list. */
export const pageOf = (row: TSchema) =>
  t.Object({
    total: t.Unsafe<number>({ type: 'integer', description: 'Rows in all' }),
    limit: integer,
    offset: integer,
    data: t.Array(row),
  });

/** `{"message": …}`: it was done. */
export const message = t.Object({ message: t.String() });

/** What a version that the topology must still have looks like (contract §5.3 rule 4). */
export const expectedVersion = t.Unsafe<number | null>({
  type: ['integer', 'null'],
  description: 'The version that the topology must still have, or 409; without it nothing is compared',
});

export const httpModels = {
  Error: t.Object({ detail: t.String({ description: 'What is wrong, and what to do about it' }) }),
  RateLimited: t.Object({ error: t.String(), detail: t.String() }),
  ServerError: t.Object({
    detail: t.String(),
    error_id: t.String({ description: 'Finds the failure in the log' }),
    exception_type: t.Optional(t.String({ description: 'With DECNET_DEVELOPER only' })),
    traceback: t.Optional(t.String({ description: 'With DECNET_DEVELOPER only' })),
  }),
};
