import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { parseIni } from '../../src/decky/deploy/ini.ts';
import { MAX_FLEET, wantedFleet } from '../../src/decky/deploy/wanted.ts';
import { fleetRoutes } from '../../src/decky/fleet-routes.ts';
import { Rotator } from '../../src/decky/rotator.ts';
import { AppError } from '../../src/errors.ts';
import { Settings } from '../../src/settings/settings.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';
import { asViewer, authenticator, get, shell } from '../topology/support.ts';
import { insertFleetDecky, type SpySubstrate, send, spySubstrate, told, UUID } from './support.ts';

describe('an INI file', () => {
  test('has sections of keys and values', () => {
    const text =
      '; a comment\n[Web]\nIP = 10.0.0.1\nservices: ssh,\n  http\n# another\n\n[web.http]\nempty =\nurl = a=b:c\r\n';
    expect([...parseIni(text)].map(([name, keys]) => [name, Object.fromEntries(keys)])).toEqual([
      ['Web', { ip: '10.0.0.1', services: 'ssh,\nhttp' }],
      ['web.http', { empty: '', url: 'a=b:c' }],
    ]);
  });

  test.each([
    ['a = 1', 'line 1'],
    ['[a]\nb', 'line 2'],
    ['[a]\n= 1', 'line 2'],
    ['[a]\nb=1\nB=2', 'line 3'],
    ['[a]\n[a]', 'line 2'],
    ['[a\nb=1', 'line 1'],
  ])('is refused with its line: %j', (text, line) => {
    expect(() => parseIni(text)).toThrow(line);
  });

  test('is read in one pass, whatever it holds', () => {
    const hostile = `[a]\nk${' '.repeat(400_000)}x\n`;
    expect(() => parseIni(hostile)).toThrow('line 2');
    // Whoever sends more keeps everybody else waiting.
    expect(() => parseIni('[a]\n'.repeat(6001))).toThrow('more than 6000 lines');
  });
});

describe('what an INI file wants', () => {
  const want = (ini: string) => wantedFleet(ini, () => 0);

  test('deckies, groups, kinds and configurations', () => {
    const { deckies, network, gateway } = want(
      [
        '[general]\nnet = 10.9.0.0/24\ngw = 10.9.0.1',
        '[web]\namount = 2\narchetype = web-server\nmutate_interval = 45',
        '[web.http]\nhttp_versions = http/1.1,http/2\ncustom_body = b64:aGk=\nresponse_code =',
        '[one]\nservices = ssh, ftp\nip = 10.9.0.9\nnmap_os = windows',
        '[any]',
      ].join('\n'),
    );
    expect([network, gateway]).toEqual(['10.9.0.0/24', '10.9.0.1']);
    expect(deckies.map(({ name, services }) => [name, services])).toEqual([
      ['web-01', ['http', 'https', 'ssh']],
      ['web-02', ['http', 'https', 'ssh']],
      ['one', ['ssh', 'ftp']],
      ['any', [expect.any(String)]],
    ]);
    const configs = { http: { http_versions: ['http/1.1', 'http/2'], custom_body: 'hi' } };
    expect(deckies[1]).toMatchObject({ archetype: 'web-server', mutateInterval: '45m', ip: null, configs });
    expect(deckies[2]).toMatchObject({ ip: '10.9.0.9', nmapOs: 'windows', mutateInterval: null, configs: {} });
  });

  test.each([
    ['nothing', ''],
    ['no section', 'a = 1'],
    ['no decky', '[general]\nnet=10.0.0.0/24'],
    ['an unknown archetype', '[a]\narchetype=submarine'],
    ['an unknown service', '[a]\nservices=ssh,gopher'],
    ['a service for the whole fleet', '[a]\nservices=sniffer'],
    ['an interval that is none', '[a]\nmutate_interval=often'],
    ['an interval of more than a hundred years', '[a]\nmutate_interval=999999999999'],
    ['an amount that is none', '[a]\namount=some'],
    ['too large an amount', '[a]\namount=101'],
    ['one address for many', '[a]\namount=2\nip=10.0.0.1'],
    ['an address that is none', '[a]\nip=10.0.0'],
    ['a network that is none', '[general]\nnet=10.0.0.1/24\n[a]'],
    ['a name that no route can address', '[A b]'],
    ['a service of one`s own', '[custom-x]\nbinary=/bin/sh'],
    ['two of one name', '[a]\namount=1\n[a-01]'],
    ['a configuration of nobody', '[a]\n[b.ssh]\nuser=x'],
    ['a configuration of what it does not run', '[a]\nservices=ftp\n[a.ssh]\nuser=x'],
    ['more than any fleet may have', Array.from({ length: 6 }, (_, index) => `[g${index}]\namount=100`).join('\n')],
  ])('%s is a conflict', (_, ini) => {
    expect(codeOf(() => want(ini))).toBe('conflict');
    expect(MAX_FLEET).toBe(500);
  });

  test('a value that the service does not take is a bad request', () => {
    expect(codeOf(() => want('[a]\nservices=smtp\n[a.smtp]\nmta=qmail'))).toBe('bad_request');
  });

  const codeOf = (act: () => unknown) => {
    try {
      act();
    } catch (error) {
      return error instanceof AppError ? error.code : error;
    }
    return undefined;
  };
});

for (const engine of ENGINES) {
  describe(`deploying and removing (${engine})`, () => {
    let database: TestDatabase;
    let substrate: SpySubstrate;
    let settings: Settings;
    let rotators: Rotator[];
    let handle: (request: Request) => Promise<Response>;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
      const { db } = database;
      substrate = spySubstrate();
      rotators = [];
      settings = new Settings(db, { deployment_limit: 10, global_mutation_interval: '30m' }, () => {});
      const app = shell().use(
        fleetRoutes({
          db,
          settings,
          substrate,
          network: '192.168.60.0/24',
          authenticator,
          onCommitted: () => {},
          onRequested: () => {
            for (const rotator of rotators) rotator.wake();
          },
        }),
      );
      handle = (request) => app.handle(request);
    });
    afterEach(async () => {
      await Promise.all(rotators.map((rotator) => rotator.stop()));
      await database.dispose();
    });

    const ask = async (request: Request) => {
      const response = await handle(request);
      const text = await response.text();
      return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
    };
    const deploy = (ini_content: unknown, more: object = {}) =>
      ask(send('POST', '/deckies/deploy', { ini_content, ...more }));
    const rotate = () => {
      const { db } = database;
      const rotator = new Rotator({ db, substrate, logger: quiet, onCommitted: () => {}, pollMs: 3_600_000 });
      rotators.push(rotator);
      rotator.start();
      return rotator;
    };
    const fleet = async () => (await ask(get('/deckies'))).body;
    const lifecycle = async (ids: readonly string[]) => {
      const query = ids.map((id) => `ids=${id}`).join('&');
      const { body } = await ask(get(`/deckies/lifecycle?${query}`));
      return body.rows.map((row: { operation: string; status: string }) => `${row.operation} ${row.status}`);
    };

    test('the wizard`s way: rows at once, then whatever rotator comes first starts them', async () => {
      const answer = await deploy(
        '[dmz-01]\narchetype=web-server\nmutate_interval=30\n[dmz-02]\nservices=ssh\n[dmz-02.ssh]\nuser=root',
      );
      expect(answer).toEqual({
        status: 202,
        body: {
          message: expect.any(String),
          mode: 'unihost',
          lifecycle_ids: [expect.stringMatching(UUID), expect.stringMatching(UUID)],
        },
      });
      expect(await fleet()).toMatchObject([
        {
          uuid: 'local:dmz-01',
          ip: '192.168.60.2',
          services: ['http', 'https', 'ssh'],
          archetype: 'web-server',
          mutate_interval: 30,
          state: 'pending',
          last_mutated: 0,
          host_uuid: null,
        },
        { name: 'dmz-02', ip: '192.168.60.3', service_config: { ssh: { user: 'root' } } },
      ]);
      const ids = answer.body.lifecycle_ids;
      expect(await lifecycle(ids)).toEqual(['deploy pending', 'deploy pending']);
      rotate();
      await until('both to run', async () => (await lifecycle(ids)).every((row: string) => row === 'deploy succeeded'));
      expect(await fleet()).toMatchObject([
        { state: 'running', services: ['http', 'https', 'ssh'] },
        { state: 'running', services: ['ssh'], service_config: { ssh: { user: 'root' } } },
      ]);
      expect([...substrate.running.keys()].sort()).toEqual(['dmz-01', 'dmz-02']);
      const states = (await told(database.db)).filter(({ topic }) => topic === 'decky.dmz-01.state');
      expect(states.map(({ payload }) => [payload.transition, payload.state])).toEqual([
        ['inserted', 'pending'],
        ['state_changed', 'running'],
      ]);
      expect((await told(database.db)).filter(({ type }) => type === 'mutation')).toEqual([]);
    });

    test('one that does not start is failed and says why; asked to mutate, it is started first', async () => {
      substrate.beforeEnsure = () => {
        throw new Error('no such image');
      };
      const { body } = await deploy('[a]\nservices=ssh');
      await ask(send('POST', '/deckies/a/mutate'));
      rotate();
      await until('the end', async () => (await lifecycle(body.lifecycle_ids))[0] === 'deploy failed');
      const [row] = (await ask(get(`/deckies/lifecycle?ids=${body.lifecycle_ids[0]}`))).body.rows;
      expect(row.error).toBe('no such image');
      await until('the mutation, in its turn', async () => {
        const rows = await database.db.selectFrom('decky_lifecycle').select(['operation', 'status']).execute();
        return rows.every(({ status }) => status === 'failed') && rows.length === 2;
      });
      expect(substrate.calls[0]).toBe('ensure a ssh');
    });

    test.each<[string, unknown, number]>([
      ['no content', undefined, 400],
      ['content that is no text', 7, 400],
      ['an empty text', '', 409],
      ['a name that is taken', '[edge-1]', 409],
      ['an address that is taken', '[a]\nip=192.168.60.7', 409],
      ['an address outside of its network', '[general]\nnet=10.0.0.0/24\n[a]\nip=10.0.1.1', 409],
      ['more deckies than addresses', '[general]\nnet=10.0.0.0/30\n[a]\namount=3', 409],
      ['more deckies than the limit', '[a]\namount=10', 409],
      ['too much text', `[a]\n#${'x'.repeat(512 * 1024)}`, 422],
      ['text that is too much in bytes', `[a]\n#${'é'.repeat(300 * 1024)}`, 422],
    ])('%s is refused and nothing changes', async (_, content, status) => {
      await insertFleetDecky(database.db, 'edge-1', { ip: '192.168.60.7' });
      const before = await fleet();
      expect(await deploy(content)).toEqual({ status, body: { detail: expect.any(String) } });
      expect(await fleet()).toEqual(before);
      expect(await told(database.db)).toEqual([]);
      expect(await database.db.selectFrom('decky_lifecycle').selectAll().execute()).toEqual([]);
    });

    test('a name that is taken is told, with the ways out', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      const { body } = await deploy('[edge-1]\nservices=ssh');
      for (const part of ['edge-1', 'another name', 'replace_fleet']) expect(body.detail).toContain(part);
    });

    test('extra keys, a replacement that is neither yes nor no, and viewers are refused', async () => {
      expect((await deploy('[a]', { force: true })).status).toBe(400);
      expect((await deploy('[a]', { replace_fleet: 'perhaps' })).status).toBe(422);
      expect((await ask(send('POST', '/deckies/deploy', {}, asViewer))).status).toBe(403);
    });

    test('the limit counts what is there, holds from the moment it is set, and for deployments at once', async () => {
      await settings.setDeploymentLimit(3, 'admin');
      await insertFleetDecky(database.db, 'edge-1');
      const answers = await Promise.all(['a', 'b'].map((name) => deploy(`[${name}]\namount=2`)));
      expect(answers.map(({ status }) => status).sort()).toEqual([202, 409]);
      expect(await fleet()).toHaveLength(3);
      await settings.setDeploymentLimit(5, 'admin');
      expect((await deploy('[c]\namount=2')).status).toBe(202);
    });

    test('a replacement takes everything else away, with what waited for it', async () => {
      await insertFleetDecky(database.db, 'edge-1', { ip: '192.168.60.2' });
      const { body } = await ask(send('POST', '/deckies/edge-1/mutate'));
      expect((await deploy('[edge-1]\nservices=ssh\n[b]', { replace_fleet: true })).status).toBe(202);
      expect(await fleet()).toMatchObject([
        { name: 'b', ip: '192.168.60.3' },
        { name: 'edge-1', ip: '192.168.60.2', services: ['ssh'], host_uuid: null },
      ]);
      expect(await lifecycle(body.lifecycle_ids)).toEqual(['mutate failed']);
      const gone = (await told(database.db)).find(({ payload }) => payload.transition === 'deleted');
      expect(gone).toMatchObject({ topic: 'decky.host-1:edge-1.state', payload: { state: 'torn_down' } });
    });

    test('removing one takes it down first, then its row; the last one ends the deployment', async () => {
      expect(await ask(send('DELETE', '/deckies/edge-1'))).toEqual({
        status: 404,
        body: { detail: expect.stringContaining('deployment') },
      });
      await insertFleetDecky(database.db, 'edge-1');
      const { body } = await ask(send('POST', '/deckies/edge-1/mutate'));
      expect(await ask(send('DELETE', '/deckies/edge-2'))).toEqual({
        status: 404,
        body: { detail: expect.stringContaining('edge-2') },
      });
      expect((await ask(send('DELETE', '/deckies/Edge'))).status).toBe(422);
      expect((await ask(send('DELETE', '/deckies/edge-1', undefined, asViewer))).status).toBe(403);
      expect(await ask(send('DELETE', '/deckies/edge-1'))).toEqual({ status: 204, body: undefined });
      expect([await fleet(), substrate.calls]).toEqual([[], ['remove edge-1']]);
      expect(await lifecycle(body.lifecycle_ids)).toEqual(['mutate failed']);
      expect((await ask(send('DELETE', '/deckies/edge-1'))).body.detail).toContain('deployment');
    });

    test('what became of deckies that have gone is forgotten in the end', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      await ask(send('POST', '/deckies/edge-1/mutate'));
      await ask(send('DELETE', '/deckies/edge-1'));
      const kept = () => database.db.selectFrom('decky_lifecycle').select('decky_name').execute();
      expect(await kept()).toEqual([{ decky_name: 'edge-1' }]);
      await database.db.updateTable('decky_lifecycle').set({ completed_at: '2026-01-01T00:00:00.000Z' }).execute();
      await deploy('[a]\nservices=ssh');
      expect(await kept()).toEqual([{ decky_name: 'a' }]);
    });

    test('removing one for which nothing waits', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      expect((await ask(send('DELETE', '/deckies/edge-1'))).status).toBe(204);
    });

    test('a removal that others have overtaken is refused, and the decky stays', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      const { removeDecky } = substrate;
      substrate.removeDecky = async (decky, fence) => {
        await removeDecky(decky, fence);
        // As when this process slept for longer than its claim holds.
        await database.db.updateTable('substrate_claims').set({ fence: Number.MAX_SAFE_INTEGER }).execute();
      };
      const detail = 'Decky edge-1 is being changed by others; try again';
      expect(await ask(send('DELETE', '/deckies/edge-1'))).toEqual({ status: 409, body: { detail } });
      expect(await fleet()).toHaveLength(1);
    });

    test('a rotation that waits behind a removal does not bring back what was removed', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      const rotationWaits = Promise.withResolvers<void>();
      const { removeDecky } = substrate;
      substrate.removeDecky = async (decky, fence) => {
        await ask(send('POST', '/deckies/edge-1/mutate'));
        rotate();
        await until('the rotation to be claimed', async () => {
          const rows = await database.db.selectFrom('decky_lifecycle').select('status').execute();
          return rows.every(({ status }) => status === 'running');
        });
        rotationWaits.resolve();
        return removeDecky(decky, fence);
      };
      const removing = ask(send('DELETE', '/deckies/edge-1'));
      await rotationWaits.promise;
      expect((await removing).status).toBe(204);
      await Promise.all(rotators.map((rotator) => rotator.stop()));
      expect([substrate.running.has('edge-1'), await fleet()]).toEqual([false, []]);
    });
  });
}
