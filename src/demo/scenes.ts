import { topics } from '../bus/topic.ts';
import type { AttackerRow } from '../db/schema.ts';
import { type DemoWorld, tell } from './world.ts';

/** Who does what where. */
export interface Scene {
  readonly attacker: Pick<AttackerRow, 'uuid' | 'ip'>;
  readonly decky: string;
  readonly service: string;
}

/** What is observed of how somebody behaves, and the values that it may have. */
export const PRIMITIVES = [
  { primitive: 'temporal.session_pace', values: ['steady', 'bursty', 'slow'] },
  { primitive: 'motor.input_modality', values: ['typed', 'pasted', 'scripted'] },
  { primitive: 'operational.objective', values: ['reconnaissance', 'persistence', 'collection'] },
  { primitive: 'cognitive.feedback_loop_engagement', values: ['reads answers', 'ignores answers'] },
] as const;

/** Out of how many attackers one is picked. */
const CAST = 40;

/** An attacker, the busier the likelier: a few come back all the time, so that there is much to see of them. */
export async function pickAttacker(world: DemoWorld): Promise<AttackerRow | undefined> {
  const rows = await world.db
    .selectFrom('attackers')
    .selectAll()
    .orderBy('event_count', 'desc')
    .orderBy('uuid')
    .limit(CAST)
    .execute();
  return rows[Math.floor(rows.length * world.random() ** 2)];
}

/** A decky's log has another line, told with all that a producer may tell of it. */
export async function logLine(
  world: DemoWorld,
  { attacker, decky, service }: Scene,
  event_type: string,
  msg: string,
  fields: Record<string, string>,
): Promise<void> {
  const timestamp = new Date().toISOString();
  await tell(world, topics.system('log'), event_type, {
    decky,
    service,
    event_type,
    attacker_ip: attacker.ip,
    timestamp,
    raw_line: `<134>1 ${timestamp} ${decky} ${service} - ${event_type} [src="${attacker.ip}"] ${msg}`,
    fields,
    msg,
  });
}
