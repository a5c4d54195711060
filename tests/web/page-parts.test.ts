import { describe, expect, test } from 'bun:test';
import { backoffMs, calmBackoffMs } from '../../src/web/app/backoff.ts';
import { placeOf, proofOf } from '../../src/web/app/event-id.ts';
import { readFrame } from '../../src/web/app/frame.ts';
import { examplePayload, MUTATION_OPS } from '../../src/web/app/mutations.ts';
import { ALL_EVENTS, IDENTITIES, streamUrl, topologyStream } from '../../src/web/app/streams.ts';

describe('backoffMs', () => {
  test('doubles from one second to thirty and stays there', () => {
    const longest = [1, 2, 3, 4, 5, 6, 7, 60].map((failures) => backoffMs(failures, 0));
    expect(longest).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  });

  test('leaves up to a half to chance', () => {
    expect(backoffMs(1, 0.5)).toBe(750);
    expect(backoffMs(6, 0.999_999)).toBe(15_000);
  });
});

describe('calmBackoffMs', () => {
  test('is never shorter than five seconds and never longer than thirty', () => {
    expect([1, 2, 3, 4, 60].map((refusals) => calmBackoffMs(refusals, 0))).toEqual([
      5000, 10_000, 20_000, 20_000, 20_000,
    ]);
    expect(calmBackoffMs(1, 0.5)).toBe(6250);
    expect(calmBackoffMs(60, 0.999_999)).toBe(30_000);
  });
});

describe('placeOf', () => {
  test.each([
    ['k3v9.41', '.0a1b2c3d'],
    ['k3v9.41', '.0a1b2c3d.7.e'],
    ['k3v9.41', ''],
    ['', ''],
    ['nonsense', ''],
  ])('is %p, and the proof is %p', (place, proof) => {
    expect([placeOf(place + proof), proofOf(place + proof)]).toEqual([place, proof]);
  });
});

describe('streamUrl', () => {
  test('opens a topology with a ticket and without a position', () => {
    expect(streamUrl('/api/v1', topologyStream('a b'), 't-1')).toBe('/api/v1/topologies/a%20b/events?ticket=t-1');
  });

  test('goes on after an id', () => {
    expect(streamUrl('/api/v1', IDENTITIES, 't', 'k3v9.42.0a1b2c3d.e')).toBe(
      '/api/v1/identities/events?ticket=t&last_event_id=k3v9.42.0a1b2c3d.e',
    );
  });

  test('keeps the query that a stream already has', () => {
    const url = new URL(streamUrl('/api/v1', ALL_EVENTS, 't'), 'http://localhost');
    expect(Object.fromEntries(url.searchParams)).toEqual({ topics: '>', ticket: 't' });
  });
});

describe('readFrame', () => {
  test('tells events from control frames', () => {
    expect(readFrame('reset', 'e.1.0a1b2c3d', '{"reason":"epoch"}').control).toBe('reset');
    expect(readFrame('evicted', 'e.1.0a1b2c3d.e', '{"detail":"…"}').control).toBe('evicted');
    expect(readFrame('status', 'e.2', '{}').control).toBeUndefined();
  });

  test('reads prev where there is one, and survives data that is not an object', () => {
    expect(readFrame('message', 'e.9', '{"prev":"e.4"}').prev).toBe('e.4');
    expect(readFrame('message', 'e.9', '{"prev":4}').prev).toBeUndefined();
    expect(readFrame('message', 'e.9', 'null').prev).toBeUndefined();
    expect(readFrame('message', 'e.9', 'not json').data).toBeUndefined();
  });
});

describe('examplePayload', () => {
  const names = { deckies: ['web-1', 'db-1'], lans: ['dmz', 'office'] };

  test('names what exists', () => {
    expect(examplePayload('update_decky', names, 'x1')).toEqual({ decky: 'web-1', services: ['ssh'] });
    expect(examplePayload('attach_decky', names, 'x1')).toEqual({ decky: 'web-1', lan: 'office' });
    expect(examplePayload('add_decky', names, 'x1')).toMatchObject({ name: 'decky-x1', lan: 'dmz' });
  });

  test('gives every operation the keys that it needs (contract §5.6), also in an empty topology', () => {
    const keys = Object.fromEntries(
      MUTATION_OPS.map((op) => [op, Object.keys(examplePayload(op, { deckies: [], lans: [] }, 'x1'))]),
    );
    expect(keys).toMatchObject({
      update_decky: expect.arrayContaining(['decky']),
      add_decky: expect.arrayContaining(['name', 'lan']),
      attach_decky: ['decky', 'lan'],
      detach_decky: ['decky', 'lan'],
      remove_decky: ['decky'],
      add_lan: ['name'],
      update_lan: expect.arrayContaining(['name']),
      remove_lan: ['name'],
    });
  });
});
