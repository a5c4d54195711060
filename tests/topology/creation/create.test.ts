import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { KNOWN_SERVICES } from '../../../src/catalog/services.ts';
import { AppError, type ErrorCode } from '../../../src/errors.ts';
import { parseGeneratorRequest } from '../../../src/topology/creation/create-request.ts';
import { type GeneratorRequest, generateDraft, lanCount } from '../../../src/topology/creation/generate.ts';
import { checkInvariants } from '../../../src/topology/invariants.ts';
import { checkShape } from '../../../src/topology/shape.ts';
import { loadState } from '../../../src/topology/state.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../../support/database.ts';
import { seeded } from '../../support/random.ts';
import { blank, detail, events, type Rest, restOf } from '../rest.ts';
import { asViewer, insertMutation, insertTopology } from '../support.ts';

const REQUEST: GeneratorRequest = {
  depth: 3,
  branchingFactor: 2,
  deckiesPerLanMin: 1,
  deckiesPerLanMax: 3,
  bridgeForwardProbability: 1,
  crossEdgeProbability: 0,
  servicesExplicit: [],
  randomizeServices: true,
  seed: 7,
};

describe('generateDraft', () => {
  const namesOf = (draft: ReturnType<typeof generateDraft>) => draft.deckies.map(({ name }) => name);
  const bridges = (draft: ReturnType<typeof generateDraft>) =>
    draft.deckies.flatMap((decky) => decky.memberships.slice(1));

  test('gives the same topology for the same seed, and another for another', () => {
    expect(generateDraft(REQUEST)).toEqual(generateDraft({ ...REQUEST }));
    expect(generateDraft(REQUEST)).not.toEqual(generateDraft({ ...REQUEST, seed: 8 }));
    for (const seed of [-1, 0, 2 ** 53, 1e300]) expect(generateDraft({ ...REQUEST, seed })).toBeObject();
  });

  test('grows as many levels and branches as asked for, the DMZ being the first', () => {
    expect(generateDraft({ ...REQUEST, depth: 1 }).lans.map(({ name }) => name)).toEqual(['dmz']);
    const { lans } = generateDraft(REQUEST);
    expect(lans).toHaveLength(7);
    expect(lans.filter(({ isDmz }) => isDmz).map(({ name }) => name)).toEqual(['dmz']);
    expect(lanCount({ depth: 16, branchingFactor: 1 })).toBe(16);
    expect(lanCount({ depth: 3, branchingFactor: 8 })).toBe(73);
  });

  test('keeps the number of deckies of each LAN within its bounds, and reaches both', () => {
    const counts = new Set<number>();
    for (let seed = 0; seed < 20; seed += 1) {
      const draft = generateDraft({ ...REQUEST, seed });
      for (const lan of draft.lans) {
        const own = draft.deckies.filter(({ name }) => name.startsWith(`${lan.name}-decky-`));
        counts.add(own.length);
      }
    }
    expect([...counts].sort()).toEqual([1, 2, 3]);
  });

  test('makes a way from the DMZ into every LAN, where LANs have no deckies as well', () => {
    const draft = generateDraft({ ...REQUEST, deckiesPerLanMin: 0, deckiesPerLanMax: 1, seed: 3 });
    expect(
      bridges(draft)
        .map(({ lan }) => lan)
        .sort(),
    ).toEqual(['lan-1', 'lan-2', 'lan-3', 'lan-4', 'lan-5', 'lan-6']);
    expect(new Set(namesOf(draft)).size).toBe(draft.deckies.length);
  });

  test('forwards and crosses as likely as asked for', () => {
    expect(bridges(generateDraft(REQUEST)).every(({ forwardsL3 }) => forwardsL3)).toBeTrue();
    const silent = generateDraft({ ...REQUEST, bridgeForwardProbability: 0 });
    expect(bridges(silent).some(({ forwardsL3 }) => forwardsL3)).toBeFalse();
    expect(bridges(generateDraft(REQUEST))).toHaveLength(6);
    expect(bridges(generateDraft({ ...REQUEST, crossEdgeProbability: 1 })).length).toBe(12);
  });

  test('takes services as they are named, by chance, or those of the archetype', () => {
    const grown = (request: Partial<GeneratorRequest>) =>
      generateDraft({ ...REQUEST, ...request }).deckies.filter(({ name }) => name.includes('-decky-'));
    const explicit = grown({ servicesExplicit: ['ssh', 'ftp'] });
    expect(new Set(explicit.map(({ services }) => services.join()))).toEqual(new Set(['ssh,ftp']));
    for (const { services } of grown({ depth: 5 })) {
      expect(services.length).toBeWithin(1, 4);
      for (const service of services) expect(KNOWN_SERVICES).toContain(service);
    }
    const typical = grown({ randomizeServices: false, depth: 5 });
    const byArchetype = Map.groupBy(typical, ({ archetype }) => archetype);
    for (const deckies of byArchetype.values()) {
      expect(new Set(deckies.map(({ services }) => services.join())).size).toBe(1);
    }
  });
});

describe('parseGeneratorRequest', () => {
  const generator = { name: 'g', depth: 2, branching_factor: 2 };
  test.each<[string, unknown, ErrorCode | undefined]>([
    ['no body', undefined, 'bad_request'],
    ['a list', [], 'invalid'],
    ['a text', 'g', 'invalid'],
    ['no name', { ...generator, name: undefined }, 'bad_request'],
    ['name null', { ...generator, name: null }, 'bad_request'],
    ['an empty name', { ...generator, name: '' }, 'bad_request'],
    ['a long name', { ...generator, name: 'x'.repeat(65) }, 'invalid'],
    ['NUL in the name', { ...generator, name: 'a\0' }, 'invalid'],
    ['no depth', { ...generator, depth: undefined }, 'bad_request'],
    ['depth 0', { ...generator, depth: 0 }, 'invalid'],
    ['depth 17', { ...generator, depth: 17 }, 'invalid'],
    ['depth as text', { ...generator, depth: '2' }, undefined],
    ['depth abc', { ...generator, depth: 'abc' }, 'invalid'],
    ['depth null', { ...generator, depth: null }, 'invalid'],
    ['branching 9', { ...generator, branching_factor: 9 }, 'invalid'],
    ['too many LANs', { ...generator, depth: 16, branching_factor: 8 }, 'bad_request'],
    ['the deepest', { ...generator, depth: 16, branching_factor: 1 }, undefined],
    ['min above max', { ...generator, deckies_per_lan_min: 4 }, 'bad_request'],
    ['min 33', { ...generator, deckies_per_lan_min: 33 }, 'invalid'],
    ['max 0', { ...generator, deckies_per_lan_max: 0 }, 'invalid'],
    ['probability 1.1', { ...generator, bridge_forward_probability: 1.1 }, 'invalid'],
    ['probability as text', { ...generator, cross_edge_probability: '0.5' }, undefined],
    ['probability true', { ...generator, cross_edge_probability: 'much' }, 'invalid'],
    ['unknown services', { ...generator, services_explicit: ['ssh', 'gopher'] }, 'bad_request'],
    ['services no list', { ...generator, services_explicit: 'ssh' }, 'invalid'],
    ['a service no text', { ...generator, services_explicit: [1] }, 'bad_request'],
    ['services null', { ...generator, services_explicit: null }, undefined],
    ['randomize as a word', { ...generator, randomize_services: 'no' }, undefined],
    ['randomize as an object', { ...generator, randomize_services: {} }, 'invalid'],
    ['seed null', { ...generator, seed: null }, undefined],
    ['seed 2.5', { ...generator, seed: 2.5 }, 'invalid'],
    ['unknown mode', { ...generator, mode: 'swarm' }, 'invalid'],
    ['agent without a host', { ...generator, mode: 'agent' }, 'bad_request'],
    ['a host without agent', { ...generator, target_host_uuid: 'h1' }, 'bad_request'],
    ['agent with a host', { ...generator, mode: 'agent', target_host_uuid: 'h1' }, 'bad_request'],
    ['agent with an empty host', { ...generator, mode: 'agent', target_host_uuid: '' }, 'bad_request'],
    ['an extra field', { ...generator, colour: 'red' }, undefined],
    ['a structural problem among others', { ...generator, name: 7, depth: 99 }, 'bad_request'],
  ])('%s', (_name, body, code) => {
    expect(codeOf(() => parseGeneratorRequest(body, () => 1))).toBe(code);
  });

  test('fills in what is not named', () => {
    expect(parseGeneratorRequest(generator, () => 42)).toMatchObject({
      topology: { name: 'g' },
      request: {
        depth: 2,
        branchingFactor: 2,
        deckiesPerLanMin: 1,
        deckiesPerLanMax: 3,
        bridgeForwardProbability: 1,
        crossEdgeProbability: 0,
        servicesExplicit: [],
        randomizeServices: true,
        seed: 42,
      },
    });
  });
});

/** The code that something is refused with; `undefined` when it is accepted. */
function codeOf(parse: () => unknown): ErrorCode | undefined {
  try {
    parse();
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
}

for (const engine of ENGINES) {
  describe(`creation (${engine})`, () => {
    let database: TestDatabase;
    let rest: Rest;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
      rest = restOf(database.db);
    });
    afterEach(() => database.dispose());

    const codesOf = async (id: string) => {
      const state = await database.db.transaction().execute((trx) => loadState(trx, id));
      return state === undefined ? ['GONE'] : [...checkShape(state), ...checkInvariants(state)];
    };

    test('makes a blank topology: a DMZ, its gateway and the announcement', async () => {
      const { status, body } = await rest.call('POST', '/topologies/blank', { name: 't1' });
      expect(status).toBe(201);
      const id = String(body.id);
      expect(body).toEqual({
        id,
        name: 't1',
        mode: 'unihost',
        target_host_uuid: null,
        status: 'pending',
        version: 1,
        needs_resync: false,
        created_at: expect.stringMatching(/^\d{4}-.*Z$/),
        status_changed_at: body.created_at,
        email_personas: '[]',
        language_default: 'en',
      });
      const made = await detail(rest, id);
      const [lan] = made.lans;
      const [decky] = made.deckies;
      expect(made.lans).toMatchObject([{ name: 'dmz', subnet: '10.0.0.0/24', is_dmz: true, x: 40, y: 40 }]);
      expect(made.deckies).toMatchObject([
        {
          name: 'dmz-gateway',
          services: ['ssh'],
          ip: '10.0.0.2',
          state: 'pending',
          decky_config: {
            name: 'dmz-gateway',
            archetype: 'deaddeck',
            forwards_l3: true,
            ips_by_lan: { dmz: '10.0.0.2' },
          },
        },
      ]);
      expect(made.edges).toMatchObject([
        { decky_uuid: decky?.uuid, lan_id: lan?.id, is_bridge: true, forwards_l3: true },
      ]);
      expect(await events(database.db)).toEqual([
        { topic: `topology.${id}.status`, type: 'status', payload: { state: 'pending', reason: null } },
      ]);
      expect(rest.committed()).toBe(1);
      expect(await codesOf(id)).toEqual([]);
    });

    test('gives simultaneous topologies different networks, and a torn down one gives its network back', async () => {
      const ids = await Promise.all([1, 2, 3, 4].map((number) => blank(rest, `t${number}`)));
      const subnets = await Promise.all(ids.map(async (id) => (await detail(rest, id)).lans[0]?.subnet));
      expect(subnets.sort()).toEqual(['10.0.0.0/24', '10.0.1.0/24', '10.0.2.0/24', '10.0.3.0/24']);
      const second = await database.db
        .selectFrom('lans')
        .select('topology_id')
        .where('subnet', '=', '10.0.1.0/24')
        .executeTakeFirstOrThrow();
      const { topology_id: id } = second;
      await database.db.updateTable('topologies').set({ status: 'torn_down' }).where('id', '=', id).execute();
      expect((await detail(rest, await blank(rest, 't5'))).lans[0]?.subnet).toBe('10.0.1.0/24');
    });

    test('leaves a network alone that a mutation is about to use', async () => {
      await insertTopology(database.db, 'live');
      await insertMutation(database.db, 'live', 1, 'applying');
      await database.db.updateTable('topology_mutations').set({ reserved_subnet: '10.0.0.0/24' }).execute();
      expect((await detail(rest, await blank(rest))).lans[0]?.subnet).toBe('10.0.1.0/24');
      await database.db.updateTable('topology_mutations').set({ state: 'failed' }).execute();
      expect((await detail(rest, await blank(rest, 'next'))).lans[0]?.subnet).toBe('10.0.0.0/24');
    });

    test('takes a name once, of simultaneous requests as well', async () => {
      const answers = await Promise.all([1, 2, 3].map(() => rest.call('POST', '/topologies/blank', { name: 't1' })));
      expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409]);
      const refused = answers.find(({ status }) => status === 409);
      expect(refused?.body).toEqual({ detail: "A topology named 't1' already exists." });
      expect((await rest.call('POST', '/topologies/', { name: 't1', depth: 1, branching_factor: 1 })).status).toBe(409);
      expect(await events(database.db)).toHaveLength(1);
    });

    test('says so when there is no network left', async () => {
      await insertTopology(database.db, 'full');
      await database.db
        .insertInto('lans')
        .values({
          id: 'l',
          topology_id: 'full',
          name: 'l',
          docker_network_id: null,
          subnet: '10.0.0.0/16',
          is_dmz: 0,
          x: 0,
          y: 0,
        })
        .execute();
      expect((await rest.call('POST', '/topologies/blank', { name: 't1' })).status).toBe(409);
      expect(await events(database.db)).toEqual([]);
    });

    test('leaves nothing behind when the announcement cannot be committed', async () => {
      await database.db.schema.alterTable('outbox').renameTo('outbox_away').execute();
      expect((await rest.call('POST', '/topologies/blank', { name: 't1' })).status).toBe(500);
      expect(await database.db.selectFrom('topologies').selectAll().execute()).toEqual([]);
      expect(await database.db.selectFrom('lans').selectAll().execute()).toEqual([]);
      expect(rest.committed()).toBe(0);
    });

    test('generates topologies that may be deployed, whatever the parameters', async () => {
      const random = seeded(20_261_121);
      for (let round = 0; round < 12; round += 1) {
        const min = random.between(0, 3);
        const { status, body } = await rest.call('POST', '/topologies/', {
          name: `round ${round}`,
          depth: random.between(1, 4),
          branching_factor: random.between(1, 3),
          deckies_per_lan_min: min,
          deckies_per_lan_max: random.between(Math.max(1, min), 5),
          bridge_forward_probability: random.next(),
          cross_edge_probability: random.next(),
          randomize_services: random.chance(0.5),
          seed: round,
        });
        expect([round, status]).toEqual([round, 201]);
        expect([round, await codesOf(String(body.id))]).toEqual([round, []]);
      }
      expect(rest.committed()).toBe(12);
      expect(await events(database.db)).toHaveLength(12);
    });

    test('generates the same twice for a seed but for what must differ, and keeps the parameters', async () => {
      const request = { depth: 3, branching_factor: 2, seed: 5 };
      const made = await Promise.all(
        ['a', 'b'].map(async (name) => {
          const { body } = await rest.call('POST', '/topologies/', { name, ...request });
          return detail(rest, String(body.id));
        }),
      );
      const [one, other] = made.map(({ lans, deckies, edges }) => ({
        lans: lans.map(({ name, is_dmz }) => [name, is_dmz]),
        deckies: deckies.map(({ name, services, decky_config }) => [
          name,
          services,
          Object.keys(decky_config.ips_by_lan),
        ]),
        edges: edges.map(({ is_bridge, forwards_l3 }) => [is_bridge, forwards_l3]),
      }));
      expect(one).toEqual(other);
      expect(made[0]?.lans.map(({ subnet }) => subnet)).not.toEqual(made[1]?.lans.map(({ subnet }) => subnet));
      const { config_snapshot } = await database.db
        .selectFrom('topologies')
        .select('config_snapshot')
        .where('name', '=', 'a')
        .executeTakeFirstOrThrow();
      expect(JSON.parse(config_snapshot)).toMatchObject({ depth: 3, branchingFactor: 2, seed: 5 });
    });

    test('holds the biggest LANs that may be asked for', async () => {
      const { status, body } = await rest.call('POST', '/topologies/', {
        name: 'big',
        depth: 3,
        branching_factor: 8,
        deckies_per_lan_min: 32,
        deckies_per_lan_max: 32,
      });
      expect(status).toBe(201);
      const { lans, deckies } = await detail(rest, String(body.id));
      expect([lans.length, deckies.length]).toEqual([73, 73 * 32 + 1]);
    });

    test('refuses a blank topology whose mode and host do not fit', async () => {
      const send = async (body: object) =>
        (await rest.call('POST', '/topologies/blank', { name: 'b', ...body })).status;
      expect(await send({ mode: 'agent' })).toBe(400);
      expect(await send({ target_host_uuid: 'h' })).toBe(400);
      expect(await send({ mode: 'other' })).toBe(422);
    });

    test('refuses a topology for an agent, because it knows no host, and makes nothing', async () => {
      for (const [path, body] of [
        ['/topologies/blank', { name: 'b' }],
        ['/topologies/', { name: 'b', depth: 1, branching_factor: 1 }],
      ] as const) {
        const answer = await rest.call('POST', path, { ...body, mode: 'agent', target_host_uuid: 'h' });
        expect(answer).toEqual({ status: 400, body: { detail: expect.stringContaining('unknown') } });
      }
      expect(await database.db.selectFrom('topologies').select('id').execute()).toEqual([]);
    });

    test('tells a missing field, a wrong one and JSON that is none apart', async () => {
      const send = async (body: unknown) => (await rest.call('POST', '/topologies/', body)).status;
      expect(await send({ depth: 1, branching_factor: 1 })).toBe(400);
      expect(await send({ name: 'g', depth: 0, branching_factor: 1 })).toBe(422);
      expect(await send('{"name":')).toBe(422);
      expect(await database.db.selectFrom('topologies').select('id').execute()).toEqual([]);
    });

    test('sends a creation without the slash to the path with it, and makes nothing', async () => {
      expect((await rest.call('POST', '/topologies', { name: 't1', depth: 1, branching_factor: 1 })).status).toBe(307);
      expect(await database.db.selectFrom('topologies').select('id').execute()).toEqual([]);
    });

    test('is for admins, before anything is looked at', async () => {
      for (const path of ['/topologies/', '/topologies/blank']) {
        expect((await rest.call('POST', path, {}, {})).status).toBe(401);
        expect((await rest.call('POST', path, {}, asViewer)).status).toBe(403);
      }
    });
  });
}
