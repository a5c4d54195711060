import { type Calls, only } from './calls/call.ts';
import { FLEET } from './calls/fleet.ts';
import { OUTSIDE } from './calls/outside.ts';
import { PEOPLE } from './calls/people.ts';
import { PLANE } from './calls/plane.ts';
import { READ_MODELS } from './calls/read-models.ts';
import { TOPOLOGIES } from './calls/topologies.ts';
import { WEBHOOKS } from './calls/webhooks.ts';

/**
 * At least one call of every operation of the document, by its id: a new route has none, and the test says so. What every
 * operation of a kind refuses (no session, a viewer, a body of another type or none) is called without being listed.
 */
export const CALLS: Readonly<Record<string, Calls>> = {
  ...PEOPLE,
  ...TOPOLOGIES,
  ...FLEET,
  ...READ_MODELS,
  ...PLANE,
  ...WEBHOOKS,
  ...OUTSIDE,
  // What the others read goes with it.
  purgeData: only(200),
};
