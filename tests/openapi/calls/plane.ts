import { ATTACKER, newName, setAsideEvent } from '../world.ts';
import { badPage, type Call, type Calls, nothing, only, onPending } from './call.ts';

const withOnce: Call = { query: 'once=1', expect: 200 };
const badStream: Call = { query: 'once=perhaps', expect: 422 };

/** Publishing, streams, workers, health. */
export const PLANE: Readonly<Record<string, Calls>> = {
  publishEvent: () => {
    const body = { topic: 'attacker.seen', type: 'seen', payload: { ip: '192.0.2.1' }, id: newName() };
    return [
      { body, expect: 202 },
      { body, expect: 202 },
      { body: { ...body, topic: 'attacker.lost' }, expect: 409 },
      { body: { payload: {} }, expect: 400 },
      { body: { ...body, topic: 'a..b' }, expect: 422 },
      { body: [{ ...body, id: newName() }], expect: 202 },
      {
        body: [
          { ...body, id: newName() },
          { ...body, topic: 'a..b' },
        ],
        expect: 207,
      },
    ];
  },
  listSetAsideEvents: async (world) => {
    await setAsideEvent(world);
    return [{ expect: 200 }, badPage];
  },
  retrySetAsideEvent: async (world) => [{ params: { id: await setAsideEvent(world) }, expect: 202 }, nothing],
  discardSetAsideEvent: async (world) => [{ params: { id: await setAsideEvent(world) }, expect: 204 }, nothing],

  streamTopology: onPending(async (id) => [
    { params: { id }, ...withOnce },
    { params: { id }, ...withOnce, headers: { 'last-event-id': 'nonsense' } },
    { params: { id }, ...badStream },
    nothing,
  ]),
  streamIdentity: () => [withOnce, badStream],
  streamCampaign: () => [withOnce, badStream],
  streamOrchestrator: () => [withOnce, badStream],
  streamAttacker: () => [
    { params: { id: ATTACKER }, ...withOnce },
    { params: { id: ATTACKER }, ...badStream },
    { ...withOnce, expect: 404 },
  ],
  streamLogs: () => [
    { query: 'once=1&search=service:ssh&lastEventId=1', expect: 200 },
    { query: 'start_time=yesterday', expect: 422 },
    badStream,
  ],
  streamEvents: () => [
    { query: 'once=1&topics=attacker.>', expect: 200 },
    { query: 'topics=a..b', expect: 422 },
  ],
  cutStreams: only(200),
  openWebSocket: only(426),

  readLiveness: only(200),
  readReadiness: only(200),

  listWorkers: only(200),
  startAllWorkers: only(200),
  stopWorker: () => [{ params: { name: 'prober' }, expect: 202 }, nothing],
  startWorker: () => [
    { params: { name: 'prober' }, expect: 202 },
    { params: { name: 'ttp' }, expect: 502 },
    { params: { name: 'mutator' }, expect: 503 },
    nothing,
  ],
};
