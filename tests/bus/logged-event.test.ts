import { expect, test } from 'bun:test';
import type { Entry } from '../../src/bus/entry.ts';
import { createEvent, wireData } from '../../src/bus/event.ts';
import { eventOf, payloadText } from '../../src/bus/logged-event.ts';
import { subscription } from '../../src/bus/subscription.ts';
import { FIRST } from '../stream/support.ts';

const entry = (data: string, topic = 'system.session.revoked'): Entry => ({
  offset: 1,
  id: 'e1',
  topic,
  data,
  ...FIRST,
  revision: 0,
});

test('a reader gets the event that was published', () => {
  const event = createEvent(
    'system.session.revoked',
    'revoked',
    { user_uuid: 'u1', at: [1, null] },
    'e1',
    1_795_281_000_123,
  );
  const { v: _, ...published } = event;
  expect(eventOf(entry(wireData(event)))).toEqual(published);
});

test('an entry is decoded once, whoever asks', () => {
  const shared = entry('{"topic":"a","type":"","ts":1,"payload":{}}');
  expect(eventOf(shared)).toBe(eventOf(shared));
});

test('an entry that nobody wants is not decoded: damaged data costs nothing before somebody asks', () => {
  const heard: string[] = [];
  const onEvent = (wanted: Entry) => heard.push(payloadText(wanted, 'name') ?? 'none');
  const listener = subscription(['decky.>'], onEvent, () => {});
  const entries = [entry('{"cut off'), entry('{"payload":{"name":"bait"}}', 'decky.bait.mutate_request')];
  listener.onBatch({ epoch: 'k3v9', channel: 'log', first: 1, last: 2, entries });
  expect(heard).toEqual(['bait']);
  expect(() => eventOf(entry('{"cut off'))).toThrow(SyntaxError);
});

test.each([
  ['[]'],
  ['7'],
  ['{}'],
  ['{"payload":[1]}'],
  ['{"payload":{"name":7}}'],
  ['{"type":5,"ts":"now","payload":null}'],
])('what a foreign writer left out or made something else of is not there: %s', (data) => {
  expect(payloadText(entry(data), 'name')).toBeUndefined();
  expect(eventOf(entry(data))).toMatchObject({ type: '', ts: 0 });
});
