import { outsideId } from '../../../src/outside/schemas.ts';
import { OUTSIDE_READS, OUTSIDE_WRITES } from '../../../src/outside/table.ts';
import { type Calls, only, type Params } from './call.ts';

/** Calls of what DECNET's dashboard asks for outside of the plane: as the table says, and where a path has a form, one without. */
const FORMED: Readonly<Record<string, { readonly good: Params; readonly bad: Params }>> = {
  '/transcripts/:decky/:sid': { good: {}, bad: { sid: 'a.b' } },
  '/artifacts/:decky/:stored': { good: { stored: '2026-11-21T12:00:00Z_0123456789ab_x.bin' }, bad: { stored: 'x' } },
};
export const OUTSIDE: Readonly<Record<string, Calls>> = Object.fromEntries([
  ...OUTSIDE_READS.map(({ path, shape, numbers = {} }): [string, Calls] => {
    const { good: params = {}, bad } = FORMED[path] ?? {};
    const checked = [...(shape.is === 'page' ? ['limit', 'offset'] : []), ...Object.keys(numbers)];
    return [
      outsideId('GET', path),
      () => [
        { params, expect: shape.is === 'missing' ? 404 : 200 },
        ...(bad === undefined ? [] : [{ params: bad, expect: 400 }]),
        ...checked.map((name) => ({ params, query: `${name}=-1`, expect: 422 })),
      ],
    ];
  }),
  ...OUTSIDE_WRITES.map(({ method, path }): [string, Calls] => [outsideId(method, path), only(501)]),
]);
