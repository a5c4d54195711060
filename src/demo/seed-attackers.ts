import { createEvent, type Event } from '../bus/event.ts';
import { topics } from '../bus/topic.ts';
import { attackerAddress, showsUp } from './attackers.ts';
import { demoId } from './inventory.ts';

const MINUTE_MS = 60_000;

/** How many attackers each demonstration identity has been observed as. */
const OBSERVATIONS = [4, 3, 2, 2, 3, 1, 1, 2] as const;

/**
 * What was told of attackers and identities before the demonstration began: the read models are made of it, and of nothing else.
 * It is the same on every start, so that telling it twice tells it once.
 * @param now milliseconds since the epoch
 */
export function seedAttackers(now: number): Event[] {
  const events: Event[] = [];
  let addresses = 0;
  for (const [index, observations] of OBSERVATIONS.entries()) {
    const formedAt = now - (OBSERVATIONS.length - index) * 60 * MINUTE_MS;
    const observed = Array.from({ length: observations }, (_, seen) => {
      const ip = attackerAddress(addresses + seen);
      return { uuid: demoId(`attacker/${ip}`), ip };
    });
    addresses += observations;
    for (const [seen, attacker] of observed.entries()) {
      events.push(...showsUp(attacker, formedAt + seen * MINUTE_MS, (name) => demoId(`event/${name}`)));
    }
    const formed = {
      identity_uuid: demoId(`identity/${index}`),
      observation_uuids: observed.map(({ uuid }) => uuid),
    };
    const id = demoId(`event/identity/${index}`);
    events.push(createEvent(topics.identity('formed'), 'formed', formed, id, formedAt + observations * MINUTE_MS));
  }
  return events;
}
