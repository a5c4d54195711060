import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { createDockerSubstrate, type DockerSubstrateOptions } from '../../src/substrate/docker.ts';
import { ClaimLost, type SubstrateDecky, type SubstrateNetwork } from '../../src/substrate/substrate.ts';
import { openFence, under } from '../support/fence.ts';
import { type FakeEngine, refusal, startFakeEngine } from './fake-engine.ts';

const TOPOLOGY = '7ba5d3f0-1111-4222-8333-444455556666';
const DMZ: SubstrateNetwork = {
  topologyId: TOPOLOGY,
  lanId: 'lan-dmz',
  name: 'dmz',
  subnet: '10.20.0.0/24',
  isDmz: true,
};
const OFFICE: SubstrateNetwork = { ...DMZ, lanId: 'lan-office', name: 'office', subnet: '10.20.1.0/24', isDmz: false };
const WEB: SubstrateDecky = {
  topologyId: TOPOLOGY,
  uuid: 'decky-web',
  name: 'web-front',
  services: ['ssh', 'http'],
  addresses: [
    { lanId: DMZ.lanId, ip: '10.20.0.10' },
    { lanId: OFFICE.lanId, ip: '10.20.1.10' },
  ],
  forwardsL3: false,
};

let engine: FakeEngine;
let substrate: ReturnType<typeof under>;
const connect = (changes: Partial<DockerSubstrateOptions> = {}) =>
  under(
    createDockerSubstrate({ socketPath: engine.socketPath, image: 'decoy:1', installation: 'install-1', ...changes }),
  );

beforeEach(async () => {
  engine = await startFakeEngine();
  substrate = connect();
});
afterEach(() => engine.stop());

const OWN = { 'decnet.installation': 'install-1', 'decnet.fence': '1' };
const networks = () => [...engine.networks.values()];
const containers = () => [...engine.containers.values()];
/** LAN name → address, as the engine has it. */
const addresses = () =>
  containers().map(({ addresses: own }) =>
    Object.fromEntries([...own].map(([id, ip]) => [engine.networks.get(id)?.labels['decnet.name'], ip])),
  );
const bringUp = async (decky = WEB) => {
  await substrate.ensureNetwork(DMZ);
  await substrate.ensureNetwork(OFFICE);
  await substrate.ensureDecky(decky);
  engine.changes.length = 0;
};

describe('networks of LANs', () => {
  test('one is made with the subnet and what it stands for, and reached from outside only in the DMZ', async () => {
    const id = await substrate.ensureNetwork(DMZ);
    await substrate.ensureNetwork(OFFICE);
    expect(networks()).toEqual([
      {
        id: id ?? '',
        name: 'decnet_install-_7ba5d3f0_dmz',
        subnet: '10.20.0.0/24',
        internal: false,
        labels: { ...OWN, 'decnet.topology': TOPOLOGY, 'decnet.lan': 'lan-dmz', 'decnet.name': 'dmz' },
        createdAt: expect.any(Number),
      },
      expect.objectContaining({ name: 'decnet_install-_7ba5d3f0_office', internal: true }),
    ]);
  });

  test('asked for again, it is the same one and nothing changes', async () => {
    const id = await substrate.ensureNetwork(DMZ);
    engine.changes.length = 0;
    expect(await substrate.ensureNetwork(DMZ)).toBe(id);
    expect(engine.changes).toEqual([]);
  });

  test('a LAN that was renamed keeps its network', async () => {
    const id = await substrate.ensureNetwork(DMZ);
    expect(await substrate.ensureNetwork({ ...DMZ, name: 'edge' })).toBe(id);
    expect(networks()).toHaveLength(1);
  });

  test('one with another subnet is replaced', async () => {
    await substrate.ensureNetwork(DMZ);
    await substrate.ensureNetwork({ ...DMZ, subnet: '10.99.0.0/24' });
    expect(networks().map(({ subnet }) => subnet)).toEqual(['10.99.0.0/24']);
  });

  test('of two who make it at once both get the one that was made', async () => {
    const rival = connect();
    let rivals: string | null = null;
    engine.intercept = async (call) => {
      if (call !== 'POST /networks/create') return undefined;
      engine.intercept = undefined;
      rivals = await rival.ensureNetwork(DMZ);
      return undefined;
    };
    expect(await substrate.ensureNetwork(DMZ)).toBe(rivals);
    expect(rivals).not.toBeNull();
    expect(networks()).toHaveLength(1);
  });

  test('is gone after removal, and removing it again succeeds', async () => {
    await substrate.ensureNetwork(DMZ);
    await substrate.ensureNetwork(OFFICE);
    await substrate.removeNetwork(DMZ);
    expect(networks().map(({ labels }) => labels['decnet.name'])).toEqual(['office']);
    await substrate.removeNetwork(DMZ);
  });

  test('one that somebody else removed in between counts as removed', async () => {
    await substrate.ensureNetwork(DMZ);
    engine.intercept = (call) => {
      if (call === 'DELETE /networks/:id') engine.networks.clear();
      return undefined;
    };
    await substrate.removeNetwork(DMZ);
  });

  test('one that is in use is not removed, and the engine says why', async () => {
    await bringUp();
    await expect(substrate.removeNetwork(DMZ)).rejects.toThrow(
      /^docker could not remove the network of LAN 'dmz': error while removing network: .* has active endpoints$/,
    );
    expect(networks()).toHaveLength(2);
  });
});

describe('deckies', () => {
  test('one runs the image with its services, in each network at its address', async () => {
    await bringUp();
    expect(containers()).toEqual([
      expect.objectContaining({
        name: 'decnet_install-_7ba5d3f0_web-front',
        image: 'decoy:1',
        env: ['DECNET_DECKY=web-front', 'DECNET_SERVICES=http,ssh'],
        sysctls: {},
        labels: {
          ...OWN,
          'decnet.topology': TOPOLOGY,
          'decnet.decky': 'decky-web',
          'decnet.name': 'web-front',
          'decnet.services': 'http,ssh',
          'decnet.forwards_l3': 'false',
        },
        running: true,
      }),
    ]);
    expect(addresses()).toEqual([{ dmz: '10.20.0.10', office: '10.20.1.10' }]);
  });

  test('asked for again, nothing is made, connected or removed', async () => {
    await bringUp();
    const [before] = containers();
    await substrate.ensureDecky({ ...WEB, services: ['http', 'ssh'] });
    expect(engine.changes).toEqual(['POST /containers/:id/start']);
    expect(containers().map(({ id }) => id)).toEqual([before?.id ?? '']);
  });

  test.each([
    ['services', { services: ['ssh', 'ftp'] }],
    ['forwarding', { forwardsL3: true }],
  ])('other %s: it is made anew', async (_, change) => {
    await bringUp();
    const [before] = containers();
    await substrate.ensureDecky({ ...WEB, ...change });
    const [after] = containers();
    expect(containers()).toHaveLength(1);
    expect(after?.id).not.toBe(before?.id);
    expect(after?.running).toBe(true);
    expect(addresses()).toEqual([{ dmz: '10.20.0.10', office: '10.20.1.10' }]);
  });

  test('one that forwards may', async () => {
    await bringUp({ ...WEB, forwardsL3: true });
    expect(containers()[0]?.sysctls).toEqual({ 'net.ipv4.ip_forward': '1' });
  });

  test('other addresses: it goes on running and only its networks change', async () => {
    await bringUp();
    const [before] = containers();
    await substrate.ensureDecky({ ...WEB, addresses: [{ lanId: DMZ.lanId, ip: '10.20.0.77' }] });
    expect(containers().map(({ id }) => id)).toEqual([before?.id ?? '']);
    expect(addresses()).toEqual([{ dmz: '10.20.0.77' }]);
    await substrate.ensureDecky(WEB);
    expect(addresses()).toEqual([{ dmz: '10.20.0.10', office: '10.20.1.10' }]);
    expect(engine.changes).not.toContain('DELETE /containers/:id');
  });

  test.each(['POST /networks/:id/connect', 'POST /containers/:id/start', 'POST /containers/create'])(
    'interrupted at %s, the same call finishes the work',
    async (step) => {
      await substrate.ensureNetwork(DMZ);
      await substrate.ensureNetwork(OFFICE);
      engine.intercept = (call) => (call === step ? refusal(500, 'the power failed') : undefined);
      await expect(substrate.ensureDecky(WEB)).rejects.toThrow(
        "docker could not run decky 'web-front': the power failed",
      );
      engine.intercept = undefined;
      await substrate.ensureDecky(WEB);
      expect(containers().map(({ running }) => running)).toEqual([true]);
      expect(addresses()).toEqual([{ dmz: '10.20.0.10', office: '10.20.1.10' }]);
    },
  );

  test('one that stopped is started', async () => {
    await bringUp();
    for (const container of containers()) container.running = false;
    await substrate.ensureDecky(WEB);
    expect(containers().map(({ running }) => running)).toEqual([true]);
  });

  test('of two who make it at once both succeed with one container', async () => {
    await substrate.ensureNetwork(DMZ);
    await substrate.ensureNetwork(OFFICE);
    const rival = connect();
    engine.intercept = async (call) => {
      if (call !== 'POST /containers/create') return undefined;
      engine.intercept = undefined;
      await rival.ensureDecky(WEB);
      return undefined;
    };
    await substrate.ensureDecky(WEB);
    expect(containers()).toHaveLength(1);
  });

  test('a name that a stranger has taken is refused in words', async () => {
    const stranger = {
      id: 'x',
      name: 'decnet_install-_7ba5d3f0_web-front',
      image: 'i',
      env: [],
      sysctls: {},
      labels: {},
      createdAt: 0,
    };
    engine.containers.set('x', { ...stranger, addresses: new Map(), running: true });
    await expect(substrate.ensureDecky({ ...WEB, addresses: [] })).rejects.toThrow(/already in use by container "x"/);
  });

  test('names that the engine does not take stay apart', async () => {
    for (const name of ['büro 1', 'büro/1']) {
      await substrate.ensureDecky({ ...WEB, name, uuid: Bun.randomUUIDv5(name, TOPOLOGY), addresses: [] });
    }
    const names = containers().map(({ name }) => name);
    expect(names).toEqual([
      expect.stringMatching(/^decnet_install-_7ba5d3f0_b-ro-1-[0-9a-f]{8}$/),
      expect.stringMatching(/^decnet_install-_7ba5d3f0_b-ro-1-[0-9a-f]{8}$/),
    ]);
    expect(new Set(names).size).toBe(2);
  });

  test('two topologies have deckies of one name', async () => {
    await substrate.ensureDecky({ ...WEB, addresses: [] });
    await substrate.ensureDecky({ ...WEB, topologyId: '00000000-other', addresses: [] });
    expect(containers()).toHaveLength(2);
  });

  test('is gone after removal, and removing it again succeeds', async () => {
    await bringUp();
    await substrate.removeDecky(WEB);
    expect(containers()).toEqual([]);
    await substrate.removeDecky(WEB);
    await substrate.removeNetwork(DMZ);
  });
});

describe('fences', () => {
  const raw = () =>
    createDockerSubstrate({ socketPath: engine.socketPath, image: 'decoy:1', installation: 'install-1' });

  test('one is asked before each single change, and only then', async () => {
    let asked = 0;
    const admit = async () => {
      asked += 1;
      expect(engine.changes).toHaveLength(asked - 1);
      return 60_000;
    };
    const counting = under(raw(), { token: 1, admit });
    await counting.ensureNetwork(DMZ);
    await counting.ensureNetwork(OFFICE);
    await counting.ensureDecky(WEB);
    await counting.ensureDecky({ ...WEB, addresses: WEB.addresses.slice(1) });
    await counting.ensureDecky({ ...WEB, services: ['ftp'] });
    await counting.removeDecky(WEB);
    await counting.removeNetwork(DMZ);
    expect(asked).toBe(engine.changes.length);
    expect(new Set(engine.changes).size).toBe(7);
  });

  test('whoever loses its claim between two steps takes no other', async () => {
    await bringUp();
    for (let steps = 0; steps < 5; steps += 1) {
      engine.changes.length = 0;
      let left = steps;
      const admit = async () => {
        if (left === 0) throw new ClaimLost('somebody else is at it');
        left -= 1;
        return 60_000;
      };
      const loser = under(raw(), { token: 1, admit });
      // Removed, made, connected, started: four steps.
      const services = [`service-${steps}`];
      const work = loser.ensureDecky({ ...WEB, services });
      if (steps < 4) await expect(work).rejects.toThrow(ClaimLost);
      else await work;
      expect(engine.changes).toHaveLength(Math.min(steps, 4));
      await substrate.ensureDecky(WEB);
    }
  });

  test('what has been made under a later claim is neither replaced nor removed', async () => {
    await substrate.ensureNetwork(DMZ);
    const successor = under(raw(), openFence(2));
    await successor.ensureNetwork(OFFICE);
    await successor.ensureDecky(WEB);
    engine.changes.length = 0;
    for (const change of [
      () => substrate.ensureDecky({ ...WEB, services: ['ftp'] }),
      () => substrate.ensureDecky(WEB),
      () => substrate.removeDecky(WEB),
      () => substrate.ensureNetwork({ ...OFFICE, subnet: '10.99.0.0/24' }),
      () => substrate.removeNetwork(OFFICE),
      async () => {
        for (const object of await raw().owned()) if (object.fence > 1) await raw().removeOwned(object, openFence(1));
      },
    ]) {
      await expect(change()).rejects.toThrow(ClaimLost);
    }
    expect(engine.changes).toEqual([]);
  });

  test.each([
    ['decky', 'POST /containers/create'],
    ['network', 'POST /networks/create'],
  ])('a %s that a predecessor has made at the last moment is replaced by the right one', async (kind, call) => {
    const successor = under(raw(), openFence(2));
    engine.intercept = async (asked) => {
      if (asked !== call) return undefined;
      engine.intercept = undefined;
      // What the predecessor had asked for while it could, and the engine does only now.
      if (kind === 'decky') await substrate.ensureDecky({ ...WEB, services: ['ftp'], addresses: [] });
      else await substrate.ensureNetwork({ ...DMZ, subnet: '10.99.0.0/24' });
      return undefined;
    };
    if (kind === 'decky') await successor.ensureDecky({ ...WEB, addresses: [] });
    else await successor.ensureNetwork(DMZ);
    expect([...containers(), ...networks()].map(({ labels }) => labels['decnet.fence'])).toEqual(['2']);
    expect(containers().map(({ labels }) => labels['decnet.services'])).toEqual(kind === 'decky' ? ['http,ssh'] : []);
    expect(networks().map(({ subnet }) => subnet)).toEqual(kind === 'decky' ? [] : [DMZ.subnet]);
  });

  test('a change takes no longer than it is admitted for', async () => {
    const never = Promise.withResolvers<undefined>();
    engine.intercept = (call) => (call.startsWith('GET') ? undefined : never.promise);
    const impatient = under(raw(), { token: 1, admit: async () => 50 });
    await expect(impatient.ensureNetwork(DMZ)).rejects.toThrow(/the engine does not answer/);
    never.resolve(undefined);
  });

  test('what is there is listed for its installation, and for no other', async () => {
    engine.now = () => Date.parse('2026-11-21T12:00:00.000Z');
    await bringUp();
    for (const container of containers()) container.running = false;
    const other = createDockerSubstrate({ socketPath: engine.socketPath, image: 'decoy:1', installation: 'another-1' });
    await under(other).ensureDecky({ ...WEB, addresses: [] });
    const common = { topologyId: TOPOLOGY, fence: 1, createdAt: engine.now() };
    expect(await raw().owned()).toEqual([
      { ...common, kind: 'decky', id: expect.any(String), of: 'decky-web', name: 'web-front', isRunning: false },
      { ...common, kind: 'network', id: expect.any(String), of: 'lan-dmz', name: 'dmz', isRunning: true },
      { ...common, kind: 'network', id: expect.any(String), of: 'lan-office', name: 'office', isRunning: true },
    ]);
  });

  test('an object that is removed by its id takes nothing along that has come in its place', async () => {
    await bringUp();
    const [decky] = await raw().owned();
    await substrate.ensureDecky({ ...WEB, services: ['ftp'] });
    if (decky !== undefined) await raw().removeOwned(decky, openFence());
    expect(containers()).toHaveLength(1);
  });
});

describe('failures', () => {
  test('a LAN without a network', async () => {
    await substrate.ensureNetwork(DMZ);
    await expect(substrate.ensureDecky(WEB)).rejects.toThrow(
      "docker could not run decky 'web-front': there is no network for LAN lan-office",
    );
    expect(containers()).toEqual([]);
  });

  test('an image that the engine does not have', async () => {
    const other = connect({ image: 'missing:1' });
    await expect(other.ensureDecky({ ...WEB, addresses: [] })).rejects.toThrow(
      "docker could not run decky 'web-front': No such image: missing:1",
    );
  });

  test('a subnet that another network has', async () => {
    await substrate.ensureNetwork(DMZ);
    await expect(substrate.ensureNetwork({ ...OFFICE, subnet: DMZ.subnet })).rejects.toThrow(
      "docker could not make the network of LAN 'office': Pool overlaps with other one on this address space",
    );
  });

  test('no engine: the socket is named', async () => {
    const socketPath = `${engine.socketPath}.none`;
    const dead = connect({ socketPath });
    await expect(dead.ensureNetwork(DMZ)).rejects.toThrow(
      `docker could not make the network of LAN 'dmz': the engine does not answer on ${socketPath} (ENOENT)`,
    );
  });

  test('an engine that hangs is given up', async () => {
    const never = Promise.withResolvers<undefined>();
    engine.intercept = () => never.promise;
    const impatient = connect({ timeoutMs: 50 });
    await expect(impatient.removeDecky(WEB)).rejects.toThrow(/the engine does not answer/);
    never.resolve(undefined);
  });
});
