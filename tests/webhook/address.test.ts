import { describe, expect, test } from 'bun:test';
import { parseTargetUrl, resolveTarget, TargetError } from '../../src/webhook/target.ts';

const RULES = { allowPrivate: false, resolve: async () => ['93.184.216.34'] };

/** What must never be spoken to, under every spelling that reaches it. */
const HOSTILE: readonly (readonly [url: string, says: RegExp])[] = [
  // Loopback and "this host", as resolvers and URL parsers spell them.
  ['http://127.0.0.1/', /loopback/],
  ['http://127.1/', /loopback/],
  ['http://127.0.1/', /loopback/],
  ['http://0x7f000001/', /loopback/],
  ['http://0x7f.1/', /loopback/],
  ['http://2130706433/', /loopback/],
  ['http://017700000001/', /loopback/],
  ['http://0177.0.0.1/', /loopback/],
  ['http://127.255.255.254/', /loopback/],
  ['http://127.0.0.1./', /loopback/],
  ['http://%31%32%37.0.0.1/', /loopback/],
  ['http://１２７.０.０.１/', /loopback/],
  ['http://127。0。0。1/', /loopback/],
  ['http://0.0.0.0/', /unspecified/],
  ['http://0/', /unspecified/],
  ['http://[::]/', /unspecified/],
  ['http://[::1]/', /loopback/],
  ['http://[0:0:0:0:0:0:0:1]/', /loopback/],
  // IPv4 in IPv6's clothes.
  ['http://[::ffff:127.0.0.1]/', /loopback/],
  ['http://[::ffff:7f00:1]/', /loopback/],
  ['http://[::ffff:10.0.0.1]/', /private/],
  ['http://[::ffff:169.254.169.254]/', /linkLocal/],
  ['http://[::127.0.0.1]/', /forbidden/],
  ['http://[::ffff:0:127.0.0.1]/', /rfc6145/],
  ['http://[64:ff9b::7f00:1]/', /rfc6052/],
  ['http://[64:ff9b::8.8.8.8]/', /rfc6052/],
  ['http://[64:ff9b:1::a00:1]/', /rfc6052/],
  ['http://[2002:7f00:1::]/', /6to4/],
  ['http://[2002:a00:1::1]/', /6to4/],
  ['http://[2001::1]/', /teredo/],
  // Private, shared and local.
  ['http://10.0.0.1/', /private/],
  ['http://10.255.255.255/', /private/],
  ['http://172.16.0.1/', /private/],
  ['http://172.31.255.255/', /private/],
  ['http://192.168.0.1/', /private/],
  ['http://100.64.0.1/', /carrierGradeNat/],
  ['http://100.127.255.255/', /carrierGradeNat/],
  ['http://169.254.0.1/', /linkLocal/],
  ['http://169.254.169.254/latest/meta-data/', /linkLocal/],
  ['http://0xa9fea9fe/', /linkLocal/],
  ['http://[fd00:ec2::254]/', /uniqueLocal/],
  ['http://[fc00::1]/', /uniqueLocal/],
  ['http://[fe80::1]/', /linkLocal/],
  ['http://[febf::1]/', /linkLocal/],
  ['http://[fec0::1]/', /deprecatedSiteLocal/],
  // Multicast, broadcast, reserved, documentation, benchmarks, unassigned.
  ['http://224.0.0.1/', /multicast/],
  ['http://239.255.255.250/', /multicast/],
  ['http://[ff02::1]/', /multicast/],
  ['http://255.255.255.255/', /broadcast/],
  ['http://240.0.0.1/', /reserved/],
  ['http://192.0.0.1/', /reserved/],
  ['http://192.0.2.1/', /reserved/],
  ['http://198.51.100.1/', /reserved/],
  ['http://203.0.113.1/', /reserved/],
  ['http://198.18.0.1/', /reserved/],
  ['http://192.88.99.1/', /reserved/],
  ['http://[2001:db8::1]/', /reserved/],
  ['http://[3fff::1]/', /reserved/],
  ['http://[100::1]/', /discard/],
  ['http://[100:0:0:1::1]/', /unassigned/],
  ['http://[2001:10::1]/', /deprecatedOrchid/],
  ['http://[4000::1]/', /unassigned/],
  ['http://[5f00::1]/', /segmentRouting/],
  // Not the address is wrong.
  ['ftp://93.184.216.34/', /scheme 'ftp' is not allowed/],
  ['file:///etc/passwd', /scheme 'file'/],
  ['gopher://93.184.216.34/', /scheme 'gopher'/],
  ['javascript:alert(1)', /scheme 'javascript'/],
  ['http://', /cannot be read/],
  ['//no-scheme.example/', /cannot be read/],
  ['http://[fe80::1%25eth0]/', /cannot be read/],
  ['http://256.256.256.256/', /cannot be read/],
  ['http://host.example:99999/', /cannot be read/],
  ['http://user@host.example/', /user or password/],
  ['http://user:pass@host.example/', /user or password/],
  ['http://127.0.0.1@host.example/', /user or password/],
  ['http://host.example:0/', /port 0 is forbidden/],
  ['http://host.example:22/', /port 22 is forbidden/],
  ['http://host.example:25/', /port 25 is forbidden/],
  ['http://host.example:6667/', /port 6667 is forbidden/],
];

describe('the receivers that no webhook is sent to', () => {
  test.each(HOSTILE)('%s', async (url, says) => {
    const refusal = resolveTarget(url, RULES);
    await expect(refusal).rejects.toBeInstanceOf(TargetError);
    await expect(refusal).rejects.toThrow(says);
  });

  test('a name of which one address of several is private', async () => {
    const resolve = async () => ['93.184.216.34', '2606:2800:220:1::1', '10.0.0.7'];
    await expect(resolveTarget('https://mixed.example/', { ...RULES, resolve })).rejects.toThrow(
      "webhook host 'mixed.example' has the forbidden address 10.0.0.7 (private)",
    );
  });

  test.each([
    ['fe80::1%eth0', 'linkLocal'],
    ['::ffff:127.0.0.1%lo', 'loopback'],
    ['0:0:0:0:0:ffff:a00:1', 'private'],
    ['not an address', 'invalid'],
    ['', 'invalid'],
  ])('a name whose resolver answers %s', async (address, range) => {
    const resolve = async () => ['93.184.216.34', address];
    await expect(resolveTarget('https://odd.example/', { ...RULES, resolve })).rejects.toThrow(`(${range})`);
  });

  test.each([
    ['http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/', 'localhost'],
    ['http://LOCALHOST./', 'localhost.'],
    ['http://xn--fiqs8s.example/', 'xn--fiqs8s.example'],
    ['http://中国.example/', 'xn--fiqs8s.example'],
    ['http://bücher.example/', 'xn--bcher-kva.example'],
  ])('%s is judged by what is resolved and connected to: %s', async (url, host) => {
    const asked: string[] = [];
    const resolve = async (name: string) => {
      asked.push(name);
      return ['127.0.0.1'];
    };
    await expect(resolveTarget(url, { ...RULES, resolve })).rejects.toThrow(/forbidden address 127.0.0.1/);
    expect(asked).toEqual([host]);
  });

  test.each(['http://xn--a/', 'http://a b.example/', 'http://[::1/', 'http://exa%00mple/', 'http://a<b.example/'])(
    '%s, which is no name',
    async (url) => {
      await expect(resolveTarget(url, RULES)).rejects.toThrow('cannot be read');
    },
  );

  test('a name that does not resolve', async () => {
    const resolve = () => Promise.reject(new Error('ENOTFOUND'));
    await expect(resolveTarget('https://gone.example/', { ...RULES, resolve })).rejects.toThrow(
      "webhook host 'gone.example' did not resolve: ENOTFOUND",
    );
    const empty = async () => [];
    await expect(resolveTarget('https://gone.example/', { ...RULES, resolve: empty })).rejects.toThrow(
      'did not resolve',
    );
  });
});

describe('the receivers that are allowed', () => {
  test.each([
    'https://hooks.example/path?query#fragment',
    'http://hooks.example:8080/',
    'https://93.184.216.34/',
    'https://[2606:2800:220:1::1]/',
    'http://[::ffff:93.184.216.34]/',
  ])('%s', async (url) => {
    const target = await resolveTarget(url, RULES);
    expect(target.addresses.length).toBeGreaterThan(0);
  });

  test('a laboratory may allow its own network, but no other scheme, port or user', async () => {
    const lab = { ...RULES, allowPrivate: true };
    expect((await resolveTarget('http://127.0.0.1:9000/', lab)).addresses).toEqual(['127.0.0.1']);
    for (const url of ['ftp://127.0.0.1/', 'http://127.0.0.1:25/', 'http://a:b@127.0.0.1/']) {
      await expect(resolveTarget(url, lab)).rejects.toBeInstanceOf(TargetError);
    }
  });

  test('the system resolves names where nobody else is asked', async () => {
    const local = resolveTarget('http://localhost:9000/', { allowPrivate: false });
    await expect(local).rejects.toThrow('loopback');
  });

  test('a URL is normalised', () => {
    expect(parseTargetUrl('HTTP://Hooks.Example').href).toBe('http://hooks.example/');
  });
});
