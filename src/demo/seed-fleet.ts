import type { Trx } from '../db/database.ts';
import { profileOf } from '../decky/deploy/profile.ts';
import { isoTime } from '../decky/fleet.ts';
import { DEMO_FLEET } from './inventory.ts';

const KINDS: Readonly<Record<(typeof DEMO_FLEET.names)[number], { archetype: string; pool: readonly string[] }>> = {
  'edge-cache': { archetype: 'web-server', pool: ['http', 'https', 'redis', 'ssh'] },
  'edge-mqtt': { archetype: 'iot-hub', pool: ['mqtt', 'telnet', 'http'] },
  'edge-dns': { archetype: 'network-device', pool: ['dns', 'snmp', 'telnet', 'tftp'] },
};

/** How often the demonstration's deckies change: often enough to be watched. */
const INTERVAL = '5m';

/**
 * Adds the demonstration's fleet; deckies that are there already stay as they are.
 * @param now milliseconds since the epoch
 */
export async function seedFleet(trx: Trx, now: number): Promise<void> {
  const rows = DEMO_FLEET.names.map((name, index) => {
    const { archetype, pool } = KINDS[name];
    return {
      name,
      host_uuid: DEMO_FLEET.hostUuid,
      archetype,
      services: JSON.stringify(pool.slice(0, 2)),
      service_pool: JSON.stringify(pool),
      mutate_interval: INTERVAL,
      state: 'running',
      last_mutated_at: null,
      next_due_at: null,
      updated_at: isoTime(now),
      ip: `192.168.60.${2 + index}`,
      ...profileOf(name, archetype),
    };
  });
  await trx
    .insertInto('fleet_deckies')
    .values(rows)
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
}
