import { newEventId } from '../bus/event.ts';
import { topics } from '../bus/topic.ts';
import { ATTACKER_ADDRESSES, attackerAddress } from './attackers.ts';
import { DEMO_FLEET, DEMO_TOPOLOGIES, demoAddresses } from './inventory.ts';
import { PRIMITIVES, pickAttacker } from './scenes.ts';
import { type DemoAct, type DemoWorld, pick, randomBelow, tell } from './world.ts';

/** What sensors report: events that this program keeps no state for, so they go straight into the log. */

const DECKIES = DEMO_TOPOLOGIES.flatMap((topology) =>
  topology.deckies.map((decky, index) => ({
    ...decky,
    ip: demoAddresses(topology, decky, index)[decky.lans[0]] ?? '',
  })),
);

/** Of so many addresses it is told that they have been seen. */
const NEW_ADDRESSES = 90;

/** A fleet decky appears, changes its state, or goes; what each was last is remembered for `previous_state`. */
export function fleetStates(): DemoAct {
  const states = new Map<string, string>();
  return async (world) => {
    const name = pick(world, DEMO_FLEET.names);
    if (name === undefined) return;
    const previous = states.get(name);
    const change = nextState(world, previous);
    if (change.transition === 'deleted') states.delete(name);
    else states.set(name, change.state);
    await tell(world, topics.decky(`${DEMO_FLEET.hostUuid}:${name}`, 'state'), 'state', {
      host_uuid: DEMO_FLEET.hostUuid,
      name,
      ...change,
      source: 'fleet',
      ...(previous === undefined ? {} : { previous_state: previous }),
    });
  };
}

function nextState(world: DemoWorld, previous: string | undefined) {
  if (previous === undefined) return { state: 'running', transition: 'inserted' };
  if (previous === 'degraded' && world.random() < 0.3) return { state: 'torn_down', transition: 'deleted' };
  return { state: previous === 'running' ? 'degraded' : 'running', transition: 'state_changed' };
}

/** A sniffer saw a connection to a decky; all values are strings (contract §1.3). */
export const deckyTraffic: DemoAct = async (world) => {
  const decky = pick(world, DECKIES);
  if (decky === undefined) return;
  const flow = {
    src_ip: randomAddress(world),
    src_port: `${32768 + randomBelow(world, 28232)}`,
    dst_ip: decky.ip,
  };
  const { type, fields } = randomSighting(world);
  await tell(world, topics.decky(decky.name, 'traffic'), type, { ...flow, ...fields });
};

function randomSighting(world: DemoWorld): { type: string; fields: Record<string, string> } {
  if (world.random() < 0.4) {
    return { type: 'ssh_client_banner', fields: { dst_port: '22', ssh_version: 'SSH-2.0-libssh_0.9.6' } };
  }
  const packets = 8 + randomBelow(world, 200);
  return {
    type: 'tcp_flow_timing',
    fields: {
      dst_port: '443',
      packets: `${packets}`,
      bytes: `${packets * 412}`,
      duration_s: (packets / 20).toFixed(3),
      mean_iat_ms: '50.000',
      min_iat_ms: '1.250',
      max_iat_ms: '310.500',
      retransmits: `${randomBelow(world, 4)}`,
    },
  };
}

/** An address is seen for the first time. */
export const attackerObserved: DemoAct = async (world) => {
  const decky = pick(world, DECKIES);
  if (decky === undefined) return;
  await tell(world, topics.attacker('observed'), 'observed', {
    // Each becomes a row: few enough to leave room for identities.
    attacker_ip: attackerAddress(randomBelow(world, NEW_ADDRESSES)),
    decky: decky.name,
    service: pick(world, decky.services) ?? 'ssh',
    event_type: pick(world, ['connection', 'login_attempt', 'command']) ?? 'connection',
    first_seen: new Date().toISOString(),
  });
};

/** An attacker's profile has been scored. */
export const attackerScored: DemoAct = async (world) => {
  const attacker = await pickAttacker(world);
  if (attacker === undefined) return;
  await tell(world, topics.attacker('scored'), 'scored', {
    attacker_uuid: attacker.uuid,
    attacker_ip: attacker.ip,
    event_count: attacker.event_count,
    service_count: attacker.service_count,
    decky_count: attacker.decky_count,
    bounty_count: attacker.bounty_count,
    credential_count: attacker.credential_count,
    is_traversal: attacker.is_traversal === 1,
  });
};

/** A behaviour of an attacker has been observed. */
export const attackerBehaviour: DemoAct = async (world) => {
  const attacker = await pickAttacker(world);
  const observed = pick(world, PRIMITIVES);
  if (attacker === undefined || observed === undefined) return;
  const { primitive, values } = observed;
  const ts = Date.now() / 1000;
  await tell(world, topics.attackerObservation(primitive), primitive, {
    identity_ref: attacker.identity_id,
    primitive,
    value: pick<string>(world, values) ?? values[0],
    confidence: Math.round(50 + world.random() * 50) / 100,
    window: { start_ts: ts - 60, end_ts: ts },
    source: 'demo',
    evidence_ref: `demo:${newEventId()}`,
    id: newEventId(),
    ts,
    v: 1,
    attacker_uuid: attacker.uuid,
  });
};

const randomAddress = (world: DemoWorld) => attackerAddress(randomBelow(world, ATTACKER_ADDRESSES));
