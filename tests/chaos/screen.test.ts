import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { identityRow } from './identity-row.ts';
import type { RawFrame } from './line.ts';
import { IdentityScreen, TopologyScreen } from './screen.ts';

const AT = '2026-11-21T00:00:00.000Z';

function frame(event: string, content: object): RawFrame {
  return { id: undefined, event, data: JSON.stringify(content) };
}

function mutation(step: string, id: string): RawFrame {
  return frame(`mutation.${step}`, { payload: { mutation_id: id } });
}

let database: TestDatabase;

beforeEach(async () => {
  database = await createTestDatabase('sqlite');
});
afterEach(() => database.dispose());

describe('the screen of a topology', () => {
  let screen: TopologyScreen;

  beforeEach(async () => {
    const { db } = database;
    await db
      .insertInto('topologies')
      .values({
        ...{ id: 't', name: 't', mode: 'unihost', target_host_uuid: null, config_snapshot: '{}' },
        ...{ status: 'active', status_changed_at: AT, created_at: AT },
      })
      .execute();
    for (const [position, state] of (['pending', 'applied'] as const).entries()) {
      await db
        .insertInto('topology_mutations')
        .values({
          ...{ id: `m${position}`, topology_id: 't', op: 'add_lan', payload: '{}', state, queue_position: position },
          ...{ requested_at: AT, applied_at: null, reason: null },
        })
        .execute();
    }
    screen = new TopologyScreen('t');
    screen.show(frame('snapshot', { status: 'active', in_flight: [{ id: 'm0', state: 'pending' }] }));
  });

  test('equals the database by snapshot and events', async () => {
    screen.show(mutation('enqueued', 'm1'));
    screen.show(mutation('applying', 'm1'));
    screen.show(mutation('applied', 'm1'));
    screen.show(frame('note', { payload: { mutation_id: 'm9' } }));
    expect(await screen.differs(database.db)).toBeUndefined();
  });

  test.each<[string, RegExp, RawFrame]>([
    [
      'a status that was never told',
      /shows status degraded, and it is active/,
      frame('status', { payload: { state: 'degraded' } }),
    ],
    ['an end that was never told', /shows mutation m1 as applying, and it is applied/, mutation('applying', 'm1')],
    ['another end', /shows mutation m1 as failed, and it is applied/, mutation('failed', 'm1')],
    ['a mutation that never was', /shows mutation m2 as pending, and there is none/, mutation('enqueued', 'm2')],
    [
      'one that was never shown',
      /shows mutation m0 as nothing/,
      frame('snapshot', { status: 'active', in_flight: [] }),
    ],
  ])('differs by %s', async (_, difference, told) => {
    screen.show(told);
    expect(await screen.differs(database.db)).toMatch(difference);
  });
});

describe('the screen of the identities', () => {
  test('differs by one that was formed or merged without a word', async () => {
    const { db } = database;
    for (const uuid of ['i1', 'i2'])
      await db
        .insertInto('attacker_identities')
        .values(identityRow(uuid, 1, AT))
        .execute();
    const screen = new IdentityScreen();
    screen.show(frame('snapshot', { identities: [{ uuid: 'i1' }] }));
    expect(await screen.differs(db)).toMatch(/does not show identity i2/);
    screen.show(frame('formed', { payload: { identity_uuid: 'i2' } }));
    expect(await screen.differs(db)).toBeUndefined();
    await db.updateTable('attacker_identities').set({ merged_into_uuid: 'i1' }).where('uuid', '=', 'i2').execute();
    expect(await screen.differs(db)).toMatch(/shows identity i2, which was merged/);
    screen.show(frame('merged', { payload: { loser_uuid: 'i2' } }));
    expect(await screen.differs(db)).toBeUndefined();
  });
});
