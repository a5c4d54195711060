import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { STATUSES } from '../../../src/topology/status.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../../support/database.ts';
import { blank, detail, type Rest, restOf } from '../rest.ts';
import { asViewer } from '../support.ts';

for (const engine of ENGINES) {
  describe(`edits (${engine})`, () => {
    let database: TestDatabase;
    let rest: Rest;
    let id: string;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
      rest = restOf(database.db);
      id = await blank(rest);
    });
    afterEach(() => database.dispose());

    const send = (method: string, path: string, body?: unknown) => rest.call(method, `/topologies/${id}/${path}`, body);
    const look = () => detail(rest, id);
    /** Adds a LAN or a decky and returns its id. */
    const add = async (what: 'lans' | 'deckies' | 'edges', body: object) => {
      const answer = await send('POST', what, body);
      expect([answer.status, answer.body.detail]).toEqual([201, undefined]);
      return String(answer.body.id ?? answer.body.uuid);
    };
    const deckyNamed = async (name: string) => (await look()).deckies.find((decky) => decky.name === name);
    const setStatus = (status: string) =>
      database.db.updateTable('topologies').set({ status }).where('id', '=', id).execute();

    test('adds a LAN in the next free network, and puts the gateway into it', async () => {
      const { status, body } = await send('POST', 'lans', { name: 'office', x: 1.5, y: null });
      expect(status).toBe(201);
      expect(body).toEqual({
        id: expect.any(String),
        topology_id: id,
        name: 'office',
        subnet: '172.16.0.0/24',
        is_dmz: false,
        docker_network_id: null,
        x: 1.5,
        y: null,
      });
      const { edges, deckies } = await look();
      expect(edges).toHaveLength(2);
      expect(edges[1]).toMatchObject({ lan_id: body.id, is_bridge: true, forwards_l3: true });
      expect(deckies[0]?.decky_config.ips_by_lan).toEqual({ dmz: '10.0.0.2', office: '172.16.0.2' });
      expect(deckies[0]?.ip).toBe('10.0.0.2');
      await add('lans', { name: 'second' });
      expect((await look()).lans.map(({ subnet }) => subnet).sort()).toEqual([
        '10.0.0.0/24',
        '172.16.0.0/24',
        '172.16.1.0/24',
      ]);
    });

    test('renames a LAN with its members, and moves them when its network changes', async () => {
      const lan = await add('lans', { name: 'office', subnet: '10.8.0.0/24' });
      const decky = await add('deckies', { name: 'desk', services: ['rdp'] });
      await add('edges', { decky_uuid: decky, lan_id: lan });
      expect((await deckyNamed('desk'))?.decky_config).toEqual({ name: 'desk', ips_by_lan: { office: '10.8.0.3' } });
      expect((await send('PATCH', `lans/${lan}`, { name: 'floor' })).body).toMatchObject({ id: lan, name: 'floor' });
      expect((await deckyNamed('desk'))?.decky_config.ips_by_lan).toEqual({ floor: '10.8.0.3' });
      const gateway = await deckyNamed('dmz-gateway');
      expect(gateway?.decky_config.ips_by_lan).toEqual({ dmz: '10.0.0.2', floor: '10.8.0.2' });
      const moved = await send('PATCH', `lans/${lan}`, { name: 'hall', subnet: '10.9.0.0/24', is_dmz: 'off', x: 3 });
      expect(moved).toMatchObject({ status: 200, body: { name: 'hall', subnet: '10.9.0.0/24', is_dmz: false, x: 3 } });
      expect((await deckyNamed('desk'))?.decky_config.ips_by_lan).toEqual({ hall: '10.9.0.2' });
      expect((await deckyNamed('desk'))?.ip).toBe('10.9.0.2');
      expect((await deckyNamed('dmz-gateway'))?.decky_config.ips_by_lan).toEqual({ dmz: '10.0.0.2', hall: '10.9.0.3' });
      expect((await send('PATCH', `lans/${lan}`, { subnet: '10.9.9.0/30' })).status).toBe(409);
      expect((await look()).lans.find((row) => row.id === lan)?.subnet).toBe('10.9.0.0/24');
    });

    test('removes a LAN unless a decky would be nowhere then', async () => {
      const lan = await add('lans', { name: 'office' });
      const decky = await add('deckies', { name: 'desk' });
      const edge = await add('edges', { decky_uuid: decky, lan_id: lan });
      const refused = await send('DELETE', `lans/${lan}`);
      expect(refused.status).toBe(400);
      expect(refused.body.detail).toContain('desk');
      expect((await send('DELETE', `edges/${edge}`)).status).toBe(204);
      expect(await send('DELETE', `lans/${lan}`)).toEqual({ status: 204, body: {} });
      const { lans, edges, deckies } = await look();
      expect(lans.map(({ name }) => name)).toEqual(['dmz']);
      expect(edges).toHaveLength(1);
      expect(deckies.map(({ decky_config }) => decky_config.ips_by_lan)).toEqual([{}, { dmz: '10.0.0.2' }]);
      expect((await send('DELETE', `lans/${lans[0]?.id}`)).status).toBe(400);
    });

    test('adds a decky that is nowhere; edges give it a home first, then bridges', async () => {
      const decky = await add('deckies', {
        name: 'desk',
        services: ['rdp', 'smb'],
        decky_config: { archetype: 'workstation', name: 'other', ips_by_lan: { moon: '1.2.3.4' } },
        x: 5,
      });
      expect(await deckyNamed('desk')).toMatchObject({
        uuid: decky,
        services: ['rdp', 'smb'],
        decky_config: { name: 'desk', archetype: 'workstation', ips_by_lan: {} },
        ip: null,
        state: 'pending',
        last_error: null,
      });
      const [dmz] = (await look()).lans;
      const office = await add('lans', { name: 'office' });
      await add('edges', { decky_uuid: decky, lan_id: office });
      const bridge = await send('POST', 'edges', { decky_uuid: decky, lan_id: dmz?.id, forwards_l3: true });
      expect(bridge).toEqual({
        status: 201,
        body: {
          id: expect.any(String),
          topology_id: id,
          decky_uuid: decky,
          lan_id: dmz?.id,
          is_bridge: true,
          forwards_l3: true,
        },
      });
      const own = (await look()).edges.filter((edge) => edge.decky_uuid === decky);
      expect(own.map(({ lan_id, is_bridge }) => [lan_id, is_bridge])).toEqual([
        [office, false],
        [dmz?.id ?? '', true],
      ]);
      expect(await deckyNamed('desk')).toMatchObject({
        ip: '172.16.0.3',
        decky_config: { ips_by_lan: { office: '172.16.0.3', dmz: '10.0.0.3' } },
      });
    });

    // The gateway is put into every new LAN; whoever then draws the link to it draws it a second time.
    test('takes a link that is drawn twice for one', async () => {
      const office = await add('lans', { name: 'office' });
      const decky = await add('deckies', { name: 'desk' });
      const edge = await add('edges', { decky_uuid: decky, lan_id: office });
      const before = await look();
      const again = await send('POST', 'edges', { decky_uuid: decky, lan_id: office, is_bridge: true });
      expect(again).toEqual({ status: 201, body: { ...before.edges.find(({ id }) => id === edge) } });
      expect(await look()).toEqual(before);
      // That it forwards is more than was asked for at first.
      const more = await send('POST', 'edges', { decky_uuid: decky, lan_id: office, forwards_l3: true });
      expect(more).toMatchObject({ status: 201, body: { id: edge, is_bridge: false, forwards_l3: true } });
      expect((await look()).edges.find(({ id }) => id === edge)).toMatchObject({ forwards_l3: true });
      expect((await look()).edges).toHaveLength(before.edges.length);
    });

    test('changes a decky: what is named, nothing else', async () => {
      const decky = await add('deckies', {
        name: 'desk',
        services: ['rdp'],
        decky_config: { archetype: 'workstation' },
      });
      const [dmz] = (await look()).lans;
      await add('edges', { decky_uuid: decky, lan_id: dmz?.id });
      const patch = (body: unknown) => send('PATCH', `deckies/${decky}`, body);
      expect((await patch({})).status).toBe(200);
      expect(await deckyNamed('desk')).toMatchObject({
        services: ['rdp'],
        decky_config: { name: 'desk', archetype: 'workstation', ips_by_lan: { dmz: '10.0.0.3' } },
      });
      const changed = await patch({ name: 'table', services: ['ssh'], decky_config: { colour: 'red' }, x: 7 });
      expect(changed).toMatchObject({
        status: 200,
        body: {
          name: 'table',
          services: ['ssh'],
          decky_config: { name: 'table', colour: 'red', ips_by_lan: { dmz: '10.0.0.3' } },
          ip: '10.0.0.3',
          x: 7,
        },
      });
      expect((await patch({ decky_config: { ips_by_lan: { dmz: '10.0.0.77' } } })).body.ip).toBe('10.0.0.77');
      for (const ips_by_lan of [{}, { moon: '10.0.0.5' }, { dmz: '10.0.1.5' }, { dmz: 'x' }, { dmz: '10.0.0.2' }]) {
        expect((await patch({ decky_config: { ips_by_lan } })).status).toBe(400);
      }
      expect((await deckyNamed('table'))?.ip).toBe('10.0.0.77');
      expect(await send('DELETE', `deckies/${decky}`)).toEqual({ status: 204, body: {} });
      expect((await look()).edges).toHaveLength(1);
    });

    test('takes the configuration of services along that it takes away', async () => {
      const service_config = { ssh: { user: 'a' }, ftp: { banner: 'x' } };
      const decky = await add('deckies', { name: 'd', services: ['ssh', 'ftp'], decky_config: { service_config } });
      const { body } = await send('PATCH', `deckies/${decky}`, { services: ['ssh', 'http'] });
      expect(body.decky_config).toMatchObject({ service_config: { ssh: { user: 'a' } } });
      const after = (await deckyNamed('d'))?.decky_config.service_config;
      expect(after).toEqual({ ssh: { user: 'a' } });
    });

    // An editor sends the configuration that it read when it was opened.
    test('keeps what services were given since, and takes none for services that are gone', async () => {
      const read = { archetype: 'server', service_config: { ftp: { banner: 'x' } } };
      const decky = await add('deckies', { name: 'd', services: ['ssh', 'ftp'], decky_config: read });
      const patch = (body: unknown) => send('PATCH', `deckies/${decky}`, body);
      expect((await patch({ services: ['ssh'] })).status).toBe(200);
      const stale = await patch({ decky_config: { ...read, forwards_l3: true } });
      expect(stale.body.decky_config).toMatchObject({ archetype: 'server', forwards_l3: true, service_config: {} });
      await patch({ decky_config: { service_config: { ssh: { user: 'a' } } } });
      const unaware = await patch({ decky_config: { archetype: 'server' } });
      expect(unaware.body.decky_config).toMatchObject({ archetype: 'server', service_config: { ssh: { user: 'a' } } });
    });

    test('takes a decky out of a LAN, and its address is free again', async () => {
      const office = await add('lans', { name: 'office' });
      const [home, bridge] = (await look()).edges;
      expect((await send('DELETE', `edges/${home?.id}`)).status).toBe(204);
      // What is left becomes its home.
      expect(await deckyNamed('dmz-gateway')).toMatchObject({
        ip: '172.16.0.2',
        decky_config: { ips_by_lan: { office: '172.16.0.2' } },
      });
      expect((await send('DELETE', `edges/${bridge?.id}`)).status).toBe(204);
      expect(await deckyNamed('dmz-gateway')).toMatchObject({ ip: null, decky_config: { ips_by_lan: {} } });
      const decky = await add('deckies', { name: 'desk' });
      await add('edges', { decky_uuid: decky, lan_id: office });
      expect((await deckyNamed('desk'))?.ip).toBe('172.16.0.2');
    });

    test('leaves the version alone with edits that name none', async () => {
      const lan = await add('lans', { name: 'office' });
      const decky = await add('deckies', { name: 'desk', expected_version: null });
      const edge = await add('edges', { decky_uuid: decky, lan_id: lan });
      expect((await send('PATCH', `lans/${lan}`, { x: 1 })).status).toBe(200);
      expect((await send('PATCH', `deckies/${decky}`, { x: 1, expected_version: null })).status).toBe(200);
      expect((await send('DELETE', `edges/${edge}`)).status).toBe(204);
      expect((await send('DELETE', `deckies/${decky}`)).status).toBe(204);
      expect((await send('DELETE', `lans/${lan}`)).status).toBe(204);
      expect((await look()).topology.version).toBe(1);
    });

    test('raises the version by one with every edit that names it and by none with a refused one', async () => {
      const lan = await add('lans', { name: 'office', expected_version: 1 });
      const decky = await add('deckies', { name: 'desk', expected_version: '2' });
      const edge = await add('edges', { decky_uuid: decky, lan_id: lan, expected_version: 3 });
      expect((await look()).topology.version).toBe(4);
      expect((await send('PATCH', `lans/${lan}`, { x: 1, expected_version: 4 })).status).toBe(200);
      expect((await send('PATCH', `deckies/${decky}`, { x: 1, expected_version: 5 })).status).toBe(200);
      expect((await send('DELETE', `edges/${edge}?expected_version=6`)).status).toBe(204);
      expect((await send('POST', 'lans', { name: 'office' })).status).toBe(409);
      expect((await send('DELETE', `deckies/none?expected_version=7`)).status).toBe(404);
      expect((await look()).topology.version).toBe(7);
      const late = { status: 409, body: { detail: 'Version conflict: expected 6, current 7' } };
      expect(await send('POST', 'lans', { name: 'l', expected_version: 6 })).toEqual(late);
      expect(await send('PATCH', `lans/${lan}`, { expected_version: 6 })).toEqual(late);
      expect(await send('DELETE', `lans/${lan}?expected_version=6`)).toEqual(late);
      expect(await send('POST', 'deckies', { name: 'd', expected_version: 6 })).toEqual(late);
      expect(await send('PATCH', `deckies/${decky}`, { expected_version: 6 })).toEqual(late);
      expect(await send('DELETE', `deckies/${decky}?expected_version=6`)).toEqual(late);
      expect(await send('POST', 'edges', { decky_uuid: decky, lan_id: lan, expected_version: 6 })).toEqual(late);
      expect(await send('DELETE', `edges/none?expected_version=6`)).toEqual(late);
      expect((await send('DELETE', `edges/none?expected_version=x`)).status).toBe(422);
    });

    test('lets exactly one of two simultaneous writers with the same version through', async () => {
      for (let version = 1; version <= 5; version += 1) {
        const answers = await Promise.all(
          ['one', 'two'].map((name) => send('POST', 'lans', { name: `${name}-${version}`, expected_version: version })),
        );
        expect(answers.map(({ status }) => status).sort()).toEqual([201, 409]);
        const detail = answers.find(({ status }) => status === 409)?.body.detail;
        expect(detail).toBe(`Version conflict: expected ${version}, current ${version + 1}`);
      }
      expect((await look()).lans).toHaveLength(6);
    });

    test('lets all simultaneous writers without a version through, with different networks and addresses', async () => {
      const lans = await Promise.all([1, 2, 3, 4].map((number) => add('lans', { name: `lan-${number}` })));
      const deckies = await Promise.all([1, 2, 3, 4].map((number) => add('deckies', { name: `decky-${number}` })));
      await Promise.all(deckies.map((decky) => add('edges', { decky_uuid: decky, lan_id: lans[0] })));
      const made = await look();
      expect(made.topology.version).toBe(1);
      expect(new Set(made.lans.map(({ subnet }) => subnet)).size).toBe(5);
      expect(new Set(made.deckies.map(({ ip }) => ip)).size).toBe(5);
    });

    test('edits pending topologies only, and names the status', async () => {
      const lan = (await look()).lans[0]?.id;
      for (const status of STATUSES.filter((known) => known !== 'pending')) {
        await setStatus(status);
        const answers = [
          await send('POST', 'lans', { name: 'l', expected_version: 9 }),
          await send('PATCH', `lans/${lan}`, { x: 1 }),
          await send('DELETE', 'lans/none'),
          await send('POST', 'deckies', { name: 'd' }),
          await send('PATCH', 'deckies/none', {}),
          await send('DELETE', 'deckies/none'),
          await send('POST', 'edges', { decky_uuid: 'none', lan_id: 'none' }),
          await send('DELETE', 'edges/none'),
        ];
        for (const answer of answers) {
          expect(answer.status).toBe(409);
          expect(answer.body.detail).toContain(status);
        }
      }
      expect((await look()).topology.version).toBe(1);
    });

    test('answers 404 for what is not there, and 400 for a reference to it', async () => {
      for (const path of ['lans/none', 'deckies/none', 'lans/%00', 'deckies/%zz']) {
        expect([path, (await send('PATCH', path, {})).status]).toEqual([path, 404]);
        expect([path, (await send('DELETE', path)).status]).toEqual([path, 404]);
      }
      expect((await send('DELETE', 'edges/none')).status).toBe(404);
      const { deckies, lans } = await look();
      const [decky, lan] = [deckies[0]?.uuid, lans[0]?.id];
      expect((await send('POST', 'edges', { decky_uuid: 'none', lan_id: lan })).status).toBe(400);
      expect((await send('POST', 'edges', { decky_uuid: decky, lan_id: 'none' })).status).toBe(400);
      // Not even one that another topology has.
      id = await blank(rest, 'other');
      expect((await send('POST', 'edges', { decky_uuid: decky, lan_id: (await look()).lans[0]?.id })).status).toBe(400);
      expect((await send('PATCH', `lans/${lan}`, {})).status).toBe(404);
      for (const missing of ['none', '%00', '%zz']) {
        id = missing;
        expect((await send('POST', 'lans', { name: 'l' })).status).toBe(404);
      }
    });

    test('refuses names that are taken', async () => {
      const lan = await add('lans', { name: 'office' });
      const decky = await add('deckies', { name: 'desk' });
      expect((await send('POST', 'lans', { name: 'dmz' })).status).toBe(409);
      expect((await send('PATCH', `lans/${lan}`, { name: 'dmz' })).status).toBe(409);
      expect((await send('PATCH', `lans/${lan}`, { name: 'office' })).status).toBe(200);
      expect((await send('POST', 'deckies', { name: 'desk' })).status).toBe(409);
      expect((await send('PATCH', `deckies/${decky}`, { name: 'dmz-gateway' })).status).toBe(409);
      expect((await send('PATCH', `deckies/${decky}`, { name: 'desk' })).status).toBe(200);
      const twins = await Promise.all([1, 2].map(() => send('POST', 'deckies', { name: 'twin' })));
      expect(twins.map(({ status }) => status).sort()).toEqual([201, 409]);
    });

    test('refuses bodies that are none', async () => {
      const { deckies, lans } = await look();
      const wrong: [method: string, path: string, body: unknown, status: number][] = [
        ['POST', 'lans', undefined, 400],
        ['POST', 'lans', {}, 400],
        ['POST', 'lans', { name: null }, 400],
        ['POST', 'lans', { name: '' }, 400],
        ['POST', 'lans', { name: 'x'.repeat(65) }, 422],
        ['POST', 'lans', { name: 'a\0b' }, 422],
        ['POST', 'lans', { name: '12' }, 422],
        ['POST', 'lans', { name: 'l', subnet: '10.0.0.1/24' }, 422],
        ['POST', 'lans', { name: 'l', subnet: 'everywhere' }, 422],
        ['POST', 'lans', { name: 'l', subnet: '10.0.0.128/25' }, 400],
        ['POST', 'lans', { name: 'l', is_dmz: 'perhaps' }, 422],
        ['POST', 'lans', { name: 'l', x: 'left' }, 422],
        ['POST', 'lans', { name: 'l', expected_version: 'abc' }, 422],
        ['POST', 'lans', [], 422],
        ['PATCH', `lans/${lans[0]?.id}`, { name: null }, 400],
        ['PATCH', `lans/${lans[0]?.id}`, { subnet: null }, 400],
        ['PATCH', `lans/${lans[0]?.id}`, { is_dmz: null }, 422],
        ['POST', 'deckies', {}, 400],
        ['POST', 'deckies', { name: null }, 400],
        ['POST', 'deckies', { name: 'a.b' }, 422],
        ['POST', 'deckies', { name: 'a b' }, 422],
        ['POST', 'deckies', { name: 'd', services: ['gopher'] }, 400],
        ['POST', 'deckies', { name: 'd', services: 'ssh' }, 422],
        ['POST', 'deckies', { name: 'd', services: null }, 422],
        ['POST', 'deckies', { name: 'd', decky_config: [] }, 422],
        ['PATCH', `deckies/${deckies[0]?.uuid}`, { name: null }, 400],
        ['PATCH', `deckies/${deckies[0]?.uuid}`, { services: ['gopher'] }, 400],
        ['POST', 'edges', {}, 400],
        ['POST', 'edges', { decky_uuid: 'd', lan_id: 7 }, 400],
        ['POST', 'edges', { decky_uuid: 'd', lan_id: 'l', is_bridge: 'both' }, 422],
      ];
      for (const [method, path, body, status] of wrong) {
        const answer = await send(method, path, body);
        expect([path, body, answer.status]).toEqual([path, body, status]);
        expect(answer.body.detail).toBeString();
      }
      expect(await look()).toMatchObject({ topology: { version: 1 }, lans: [{ name: 'dmz' }] });
    });

    test('is for admins', async () => {
      for (const [method, path] of [
        ['POST', 'lans'],
        ['PATCH', 'lans/x'],
        ['DELETE', 'lans/x'],
        ['POST', 'deckies'],
        ['PATCH', 'deckies/x'],
        ['DELETE', 'deckies/x'],
        ['POST', 'edges'],
        ['DELETE', 'edges/x'],
      ] as const) {
        const body = method === 'DELETE' ? undefined : {};
        expect((await rest.call(method, `/topologies/${id}/${path}`, body, asViewer)).status).toBe(403);
        expect((await rest.call(method, `/topologies/${id}/${path}`, body, {})).status).toBe(401);
      }
    });
  });
}
