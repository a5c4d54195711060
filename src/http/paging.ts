import { t } from 'elysia';

/** Which rows of a list are asked for. */
export interface Page {
  readonly limit: number;
  readonly offset: number;
}

/** Rows of one page and how many there are in all. */
export interface Paged<Row> {
  readonly total: number;
  readonly rows: readonly Row[];
}

/** Rows of a list are counted up to here, and given: to count more of them would take longer than to wait is worth. */
export const COUNT_LIMIT = 100_000;

/** `limit` and `offset` of a query (contract P0). */
export const pageFields = {
  limit: t.Integer({ minimum: 1, maximum: 1000, default: 50 }),
  offset: t.Integer({ minimum: 0, maximum: 2 ** 31 - 1, default: 0 }),
};

/** The envelope of a list (contract P0). */
export function envelopeOf<Row>({ total, rows }: Paged<Row>, { limit, offset }: Page) {
  return { total, limit, offset, data: rows };
}

const NO_FILTER = new Set(['', 'null', 'NULL', 'undefined']);

/** The text of a filter; `undefined` for the values with which pages say that they filter nothing (contract P0). */
export function filterOf(text: string | undefined): string | undefined {
  return text === undefined || NO_FILTER.has(text) ? undefined : text;
}
