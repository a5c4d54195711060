import { expect, test } from 'bun:test';
import { Elysia } from 'elysia';
import type { TailListener } from '../src/bus/tail.ts';
import { type Domain, type RoleWorker, routesOf, runningOf } from '../src/domain.ts';
import type { ProcessRole } from '../src/roles.ts';

const listener = (): TailListener => ({ onBatch() {}, onBreak() {} });
const worker = (role: ProcessRole): RoleWorker => ({
  role,
  listener: listener(),
  checks: { [role]: () => ({ ok: true }) },
  counts: () => ({ [`${role}s`]: 1 }),
  start() {},
  stop() {},
});

const drained: string[] = [];
const serving: Domain = {
  listeners: [listener()],
  checks: { serving: () => ({ ok: true }) },
  counts: () => ({ served: 7 }),
  workers: [worker('mutator'), worker('api')],
  drain: () => drained.push('serving'),
};
const working: Domain = { workers: [worker('relay'), worker('rotator')] };

const told = (...roles: ProcessRole[]) => {
  const { workers, listeners, checks, counts } = runningOf([serving, working], new Set(roles));
  const names = workers.map(({ role }) => role);
  return { names, listeners: listeners.length, checks: Object.keys(checks), counts: counts() };
};

test('a process runs the workers of its roles, and hears and tells of no others', () => {
  expect(told('relay', 'mutator')).toEqual({
    names: ['mutator', 'relay'],
    listeners: 2,
    checks: ['mutator', 'relay'],
    counts: { mutators: 1, relays: 1 },
  });
});

test('what goes with the API is where the API is', () => {
  expect(told('api')).toEqual({
    names: ['api'],
    listeners: 2,
    checks: ['serving', 'api'],
    counts: { served: 7, apis: 1 },
  });
});

test('only who serves has something to drain', () => {
  runningOf([serving], new Set(['mutator'])).drain();
  expect(drained).toEqual([]);
  runningOf([serving], new Set(['api'])).drain();
  expect(drained).toEqual(['serving']);
});

test('routes keep their types, so that a client of them is typed', async () => {
  const domains = [
    { routes: new Elysia().get('/one', () => ({ one: 1 })) },
    { workers: [] },
    { routes: new Elysia().get('/two', () => ({ two: 'two' })) },
  ] as const;
  const app = new Elysia({ prefix: '/api' }).use(routesOf(domains));
  // Does not compile when the types are lost.
  const answer: (typeof app)['~Routes']['api']['two']['get']['response'][200] = { two: 'two' };
  const response = await app.handle(new Request('http://localhost/api/two'));
  expect(JSON.parse(await response.text())).toEqual(answer);
});
