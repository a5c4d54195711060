import type { Elysia } from 'elysia';

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'];

/** The methods that an app serves a path under: what a 405 answers in `Allow`. */
export function methodsOf({ router }: Pick<Elysia, 'router'>, path: string): string[] {
  // Elysia keeps paths without parameters apart, and serves each with and without its last slash.
  const other = path.endsWith('/') ? path.slice(0, -1) : `${path}/`;
  const fixed = { ...router.static[other], ...router.static[path] };
  return METHODS.filter((method) => method in fixed || router.http.find(method, path) !== null);
}
