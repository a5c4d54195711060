/**
 * Contract §5.3 rule 7. Elysia serves a path with and without its last slash by one route (its native router even when
 * told to be strict), so the route itself tells them apart. A 307 keeps the method and the body.
 */
export function redirectToSlash({ request }: { request: Request }): Response | undefined {
  const { pathname, search } = new URL(request.url);
  if (pathname.endsWith('/')) return undefined;
  return new Response(null, { status: 307, headers: { location: `${pathname}/${search}` } });
}
