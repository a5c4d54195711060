import { type DocumentDecoration, type TSchema, t } from 'elysia';
import { operation, type Parameter } from '../http/operation.ts';
import { integer } from '../http/schemas.ts';
import type { OutsideRead, OutsideWrite, Shape } from './table.ts';

/** Unique, and the same for as long as the path is. */
export function outsideId(method: string, path: string): string {
  const words = path.replaceAll(':', 'by-').match(/\w+/g) ?? [];
  return `${method.toLowerCase()}Outside${words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')}`;
}

/** What the document says of a read. */
export function readOperation({ path, role, shape, numbers = {} }: OutsideRead): { detail: DocumentDecoration } {
  const parameters = Object.entries({ ...pageNumbers(shape), ...numbers }).map(numberParameter);
  const isChecked = shape.is === 'missing' && shape.parts !== undefined;
  return operation(outsideId('GET', path), {
    tag: 'outside',
    summary: shape.is === 'missing' ? `Refused: ${shape.detail}, for there are none here` : 'There is none here',
    access: role,
    parameters,
    answers: shape.is === 'missing' ? {} : { 200: shape.is === 'fixed' ? always(shape.body) : emptyPage },
    refuses: [
      ...(isChecked ? ([400] as const) : []),
      ...(shape.is === 'missing' ? ([404] as const) : []),
      ...(parameters.length > 0 ? ([422] as const) : []),
    ],
  });
}

/** What the document says of a write. */
export function writeOperation({ method, path, does }: OutsideWrite): { detail: DocumentDecoration } {
  return operation(outsideId(method, path), {
    tag: 'outside',
    summary: `Refused: this server does not ${does}`,
    access: 'admin',
    answers: {},
    refuses: [501],
  });
}

type Bounds = readonly [least: number, most?: number];

const pageNumbers = (shape: Shape): Record<string, Bounds> =>
  shape.is === 'page' ? { limit: [1, shape.most], offset: [0] } : {};

const numberParameter = ([name, [minimum, maximum]]: [string, Bounds]): Parameter => ({
  name,
  in: 'query',
  description: 'Looked at, without a difference to the answer',
  schema: t.Unsafe<number>({ ...integer, minimum, ...(maximum === undefined ? {} : { maximum }) }),
});

const emptyPage = t.Object({
  total: integer,
  limit: integer,
  offset: integer,
  data: t.Array(t.Never(), { maxItems: 0 }),
});

const always = (body: object): TSchema => t.Unsafe<unknown>({ const: body });
