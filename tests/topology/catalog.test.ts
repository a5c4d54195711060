import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ARCHETYPES } from '../../src/catalog/archetypes.ts';
import { FLEET_SINGLETONS, KNOWN_SERVICES, serviceNamed } from '../../src/catalog/services.ts';
import {
  contains,
  formatAddress,
  nextAddress,
  nextSubnet,
  overlaps,
  parseAddress,
  parseCidr,
} from '../../src/topology/addresses.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';
import { blank, detail, type Rest, restOf } from './rest.ts';
import { asViewer, insertTopology } from './support.ts';

/** Contract §5.6, word for word. */
const CONTRACT =
  'conpot dns docker_api elasticsearch ftp http https imap k8s ldap llmnr mongodb mqtt mssql mysql pop3 postgres rdp redis sip smb smtp smtp_relay snmp ssh telnet tftp vnc';

describe('the catalogue', () => {
  test('knows the services of the contract, in its order', () => {
    expect(KNOWN_SERVICES.join(' ')).toBe(CONTRACT);
  });

  test('has archetypes of known services only, each slug once', () => {
    for (const { services } of ARCHETYPES) for (const service of services) expect(KNOWN_SERVICES).toContain(service);
    expect(new Set(ARCHETYPES.map(({ slug }) => slug)).size).toBe(ARCHETYPES.length);
  });

  test('describes how each service is configured', () => {
    for (const name of [...KNOWN_SERVICES, ...FLEET_SINGLETONS]) {
      const { ports = [], fields = [], fleet_singleton } = serviceNamed(name) ?? {};
      expect([name, fleet_singleton]).toEqual([name, name === 'sniffer']);
      expect(ports.length > 0 || fleet_singleton).toBe(true);
      for (const field of fields) {
        const keys = ['default', 'enum', 'help', 'key', 'label', 'placeholder', 'secret', 'type'];
        expect(Object.keys(field).sort()).toEqual(keys);
        expect(field.type.endsWith('enum')).toBe(field.enum !== null);
      }
      expect(new Set(fields.map(({ key }) => key)).size).toBe(fields.length);
    }
    expect(serviceNamed('gopher')).toBeUndefined();
    expect(serviceNamed('constructor')).toBeUndefined();
  });
});

describe('addresses', () => {
  test.each([
    ['0.0.0.0', 0],
    ['10.0.1.2', 167_772_418],
    ['255.255.255.255', 4_294_967_295],
  ])('%s is %d', (text, address) => {
    expect(parseAddress(text)).toBe(address);
    expect(formatAddress(address)).toBe(text);
  });

  test.each(['', '10.0.0', '10.0.0.0.0', '256.0.0.1', '01.2.3.4', '1.2.3.x', '1.2.3.4 ', '::1', '1e1.0.0.0'])(
    '"%s" is no address',
    (text) => {
      expect(parseAddress(text)).toBeUndefined();
    },
  );

  test.each([
    ['10.0.1.0/24', ['10.0.1.0', '10.0.1.255']],
    ['172.16.0.0/12', ['172.16.0.0', '172.31.255.255']],
    ['0.0.0.0/0', ['0.0.0.0', '255.255.255.255']],
    ['10.0.0.7/32', ['10.0.0.7', '10.0.0.7']],
    ['255.255.255.0/24', ['255.255.255.0', '255.255.255.255']],
  ])('%s is from %p', (text, ends) => {
    const subnet = parseCidr(text);
    expect(subnet && [subnet.first, subnet.last].map(formatAddress)).toEqual(ends);
  });

  test.each([
    '10.0.0.0',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/024',
    '10.0.0.0/',
    '10.0.0.1/24',
    '10.0.0.0/24/1',
    '/24',
  ])('"%s" is no network', (text) => {
    expect(parseCidr(text)).toBeUndefined();
  });

  test('knows what is inside a network and which networks overlap', () => {
    const subnet = (text: string) => parseCidr(text) ?? { first: -1, last: -1 };
    const inside = (text: string) => contains(subnet('10.0.1.0/24'), parseAddress(text) ?? -1);
    expect(['10.0.0.255', '10.0.1.0', '10.0.1.255', '10.0.2.0'].map(inside)).toEqual([false, true, true, false]);
    expect(overlaps(subnet('10.0.0.0/16'), subnet('10.0.255.0/24'))).toBeTrue();
    expect(overlaps(subnet('10.0.255.0/24'), subnet('10.0.0.0/16'))).toBeTrue();
    expect(overlaps(subnet('10.0.0.0/24'), subnet('10.0.1.0/24'))).toBeFalse();
  });

  test.each<[string, string[], string | undefined]>([
    ['10.0.0.0/16', [], '10.0.0.0/24'],
    ['10.0.0.0/16', ['10.0.1.0/24', '10.0.0.0/24'], '10.0.2.0/24'],
    // The gap is found, whatever comes after it.
    ['10.0.0.0/16', ['10.0.2.0/24', '10.0.0.0/24'], '10.0.1.0/24'],
    // A smaller network takes its whole /24, a bigger one all of its own.
    ['10.0.0.0/16', ['10.0.0.64/28'], '10.0.1.0/24'],
    ['10.0.0.0/16', ['10.0.0.0/22'], '10.0.4.0/24'],
    ['10.0.0.0/16', ['10.0.0.0/22', '10.0.1.0/24'], '10.0.4.0/24'],
    ['10.0.0.0/16', ['nonsense', '172.16.0.0/12'], '10.0.0.0/24'],
    ['10.0.0.0/16', ['10.0.0.0/8'], undefined],
    ['10.0.0.0/24', ['10.0.0.0/24'], undefined],
    ['10.0.0.0/25', [], undefined],
    ['nonsense', [], undefined],
    ['255.255.255.0/24', ['255.255.255.0/32'], undefined],
  ])('the next /24 of %s beside %p is %s', (pool, used, next) => {
    expect(nextSubnet(pool, used)).toBe(next);
  });

  test.each<[string, string[], string | undefined]>([
    ['10.0.0.0/24', [], '10.0.0.2'],
    ['10.0.0.0/24', ['10.0.0.2', '10.0.0.4'], '10.0.0.3'],
    ['10.0.0.0/30', [], '10.0.0.2'],
    ['10.0.0.0/30', ['10.0.0.2'], undefined],
    ['10.0.0.0/31', [], undefined],
    ['nonsense', [], undefined],
  ])('the next address of %s beside %p is %s', (subnet, used, next) => {
    expect(nextAddress(subnet, used)).toBe(next);
  });
});

for (const engine of ENGINES) {
  describe(`catalogue routes (${engine})`, () => {
    let database: TestDatabase;
    let rest: Rest;
    let id: string;

    beforeAll(async () => {
      database = await createTestDatabase(engine);
      rest = restOf(database.db);
      id = await blank(rest);
    });
    afterAll(() => database.dispose());

    const get = (path: string) => rest.call('GET', `/topologies/${path}`, undefined, asViewer);

    test('serves services, their schemas and archetypes', async () => {
      expect(await get('services')).toEqual({
        status: 200,
        body: { services: CONTRACT.split(' '), fleet_singletons: ['sniffer'] },
      });
      const key = expect.any(String);
      expect(await get('services/smtp/schema')).toEqual({
        status: 200,
        body: {
          name: 'smtp',
          ports: [25, 587],
          fleet_singleton: false,
          fields: [expect.objectContaining({ key: 'banner', default: null }), expect.objectContaining({ key: 'mta' })],
        },
      });
      expect(await get('services/rdp/schema')).toMatchObject({
        body: { fields: [{ key: 'nla', label: key, type: 'bool', default: false, secret: false, enum: null }] },
      });
      expect(await get('services/sniffer/schema')).toEqual({
        status: 200,
        body: { name: 'sniffer', ports: [], fleet_singleton: true, fields: [] },
      });
      expect(await get('services/gopher/schema')).toMatchObject({ status: 404 });
      const { body } = await get('archetypes');
      expect(body.archetypes).toContainEqual({
        slug: 'deaddeck',
        display_name: expect.any(String),
        description: expect.any(String),
        services: ['ssh'],
        preferred_distros: expect.any(Array),
        nmap_os: 'linux',
      });
    });

    test('does not shadow topologies whose id begins like a word of the catalogue', async () => {
      await insertTopology(database.db, 'services-1');
      await insertTopology(database.db, 'n');
      expect((await get('services-1')).body).toMatchObject({ topology: { id: 'services-1' } });
      expect((await get('n')).body).toMatchObject({ topology: { id: 'n' } });
      expect((await get('services-1/mutations')).status).toBe(200);
    });

    test.each<[string, number, string | undefined]>([
      // As a LAN for which nobody names a network (contract P3).
      ['', 200, '172.16.0.0/24'],
      ['?base=10.0', 200, '10.0.1.0/24'],
      ['?base=10', 200, '10.0.1.0/24'],
      ['?base=10.9', 200, '10.9.0.0/24'],
      ['?base=10.9.7', 200, '10.9.7.0/24'],
      ['?base=172.16.0.0/12', 200, '172.16.0.0/24'],
      ['?base=10.0.0', 409, undefined],
      ['?base=10.0.0.0', 409, undefined],
      ['?base=300.1', 422, undefined],
      ['?base=10.0.0.1/24', 422, undefined],
      ['?base=', 422, undefined],
      ['?base=1.2.3.4.5', 422, undefined],
    ])('next-subnet%s', async (query, status, subnet) => {
      const answer = await get(`next-subnet${query}`);
      expect([answer.status, answer.body.subnet]).toEqual([status, subnet]);
    });

    test('finds the next address of a LAN', async () => {
      const [lan] = (await detail(rest, id)).lans;
      expect(await get(`${id}/lans/${lan?.id}/next-ip`)).toEqual({
        status: 200,
        body: { subnet: '10.0.0.0/24', ip: '10.0.0.3' },
      });
      expect((await get(`${id}/lans/none/next-ip`)).status).toBe(404);
      expect((await get(`none/lans/${lan?.id}/next-ip`)).status).toBe(404);
      expect((await get(`%00/lans/%zz/next-ip`)).status).toBe(404);
    });

    test('asks for a token', async () => {
      for (const path of ['services', 'services/ssh/schema', 'archetypes', 'next-subnet', `${id}/lans/x/next-ip`]) {
        expect((await rest.call('GET', `/topologies/${path}`, undefined, {})).status).toBe(401);
      }
    });
  });
}
