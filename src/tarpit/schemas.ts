import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { integer, message, ref, time } from '../http/schemas.ts';
import { DELAY, MAX_PORT } from './tarpit.ts';

const port = t.Unsafe<number>({ ...integer, minimum: 1, maximum: MAX_PORT });
const rule = {
  ports: t.Array(port, { minItems: 1 }),
  delay_ms: t.Unsafe<number>({ ...integer, minimum: DELAY.min, maximum: DELAY.max }),
};

export const tarpitModels = {
  /** Contract P2.4. */
  Tarpit: t.Object({
    rule: t.Object({ id: t.String(), decky_name: t.String(), ...rule, created_at: time, created_by: t.String() }),
    active_connections: t.Array(t.Object({ ip: t.String(), port }), {
      maxItems: 0,
      description: 'Nobody here watches them',
    }),
  }),
};

/** @param decky what it is called in the ids of its operations, and in words */
const tarpitOperations = (decky: string, words: string) => ({
  read: operation(`read${decky}Tarpit`, {
    tag: 'fleet',
    summary: `Read which ports of ${words} keep callers waiting`,
    access: 'viewer',
    answers: { 200: ref('Tarpit') },
    refuses: [404, 422],
  }),
  set: operation(`set${decky}Tarpit`, {
    tag: 'fleet',
    summary: `Have ports of ${words} keep callers waiting`,
    access: 'admin',
    body: t.Object(rule),
    answers: { 201: message },
    refuses: [404, 409],
  }),
  remove: operation(`remove${decky}Tarpit`, {
    tag: 'fleet',
    summary: `Have no port of ${words} keep callers waiting`,
    access: 'admin',
    answers: { 200: message },
    refuses: [404, 422],
  }),
});

export type TarpitOperations = ReturnType<typeof tarpitOperations>;
export const deckyTarpitOperations = tarpitOperations('Decky', 'a decky of a topology');
export const fleetTarpitOperations = tarpitOperations('FleetDecky', 'a decky of the fleet');
