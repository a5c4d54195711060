import { topics } from '../bus/topic.ts';
import type { Engine } from '../db/database.ts';
import { type RowsToRemove, removeSome } from '../db/remove-some.ts';
import { addToCounters } from '../projection/counters.ts';
import { DEFAULT_LIMITS, limitsOf } from '../projection/keep.ts';
import { applyEach, type Projection } from '../projection/projection.ts';
import type { KeptRows } from '../projection/retention.ts';
import { rosterCounter, rosterRows } from '../projection/roster.ts';
import { Batch, COMMANDS, MAIL_RECEIVED } from './attacker-batch.ts';
import { isAnyLeft, keptAttackers, removeLeft } from './attacker-removal.ts';

export const ATTACKER_PROJECTION = 'attackers';

const keptCommands: KeptRows = {
  kind: 'commands',
  table: COMMANDS.table,
  order: ['timestamp', 'seq'],
  counter: COMMANDS.table,
  async remove(trx, ids) {
    await trx.deleteFrom(COMMANDS.table).where('seq', 'in', ids.map(Number)).execute();
    await addToCounters(trx, { [COMMANDS.table]: -ids.length });
  },
};

/** Attackers with all that is told of them (contract §1.3, §6.3, §6.4). */
export const attackerProjection = (engine: Engine, limits = limitsOf(DEFAULT_LIMITS)): Projection => ({
  name: ATTACKER_PROJECTION,
  version: 1,
  topics: [
    'attacker.>',
    'attribution.>',
    topics.system('log'),
    topics.credential('captured'),
    MAIL_RECEIVED,
    topics.identity('formed'),
    topics.identity('observation.linked'),
  ],
  channels: ['attacker', 'attribution', 'identity'],
  isPurged: true,
  kept: [keptCommands, ...keptAttackers(engine, limits)],
  hasLeft: isAnyLeft,
  removeLeft,
  async apply(trx, events) {
    const batch = await Batch.open(trx, engine, limits, events);
    const skipped = await applyEach(events, (event) => batch.apply(event));
    await batch.save();
    return skipped;
  },
  async clear(trx, most) {
    await trx.deleteFrom('counters').where('name', 'in', COUNTERS).execute();
    return removeSome(trx, OWNED, most);
  },
});

const ROSTERS = ['attackers', 'attacker_uuids', 'attributed'] as const;
const COUNTERS = [COMMANDS.table, ...ROSTERS.map(rosterCounter)];
const OWNED: readonly RowsToRemove[] = [
  { table: 'attackers', key: ['uuid'] },
  { table: 'attacker_uuids', key: ['uuid'] },
  { table: 'attacker_commands', key: ['seq'] },
  { table: 'attacker_services', key: ['service', 'ip'] },
  { table: 'attacker_smtp_targets', key: ['ip', 'domain'] },
  { table: 'observations', key: ['attacker_uuid', 'primitive'] },
  { table: 'attributions', key: ['identity_uuid', 'primitive'] },
  { table: 'attacker_intel', key: ['attacker_uuid'] },
  { table: 'attackers_leaving', key: ['ip'] },
  ...ROSTERS.map(rosterRows),
];
