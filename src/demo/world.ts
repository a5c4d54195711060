import { createEvent, type Event, type JsonObject } from '../bus/event.ts';
import type { Db } from '../db/database.ts';

/** What a demonstration act may use. */
export interface DemoWorld {
  readonly db: Db;
  /** Publishes an event that has no state in the database. */
  publish(event: Event): Promise<unknown>;
  /** Called after each commit that wrote to the outbox. */
  onCommitted(): void;
  /** From 0 to below 1. */
  random(): number;
}

/** One thing that happens in the demonstration; it may find nothing to do. */
export type DemoAct = (world: DemoWorld) => Promise<void>;

/** A whole number from 0 to below the limit. */
export function randomBelow(world: Pick<DemoWorld, 'random'>, limit: number): number {
  return Math.floor(world.random() * limit);
}

/** One of the items; `undefined` when there is none. */
export function pick<T>(world: Pick<DemoWorld, 'random'>, items: readonly T[]): T | undefined {
  return items[randomBelow(world, items.length)];
}

/** Makes an event and publishes it. */
export async function tell(world: DemoWorld, topic: string, type: string, payload: JsonObject): Promise<void> {
  await world.publish(createEvent(topic, type, payload));
}
