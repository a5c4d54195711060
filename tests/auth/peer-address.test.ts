import { expect, test } from 'bun:test';
import { peerAddress } from '../../src/auth/peer-address.ts';

const from = (address: string) => ({ requestIP: () => ({ address }) });
const request = (forwarded?: string) =>
  new Request('http://node/', forwarded === undefined ? {} : { headers: { 'x-forwarded-for': forwarded } });

test.each([
  ['nobody is trusted', [], '10.0.0.1', '1.2.3.4', '10.0.0.1'],
  ['the proxy is trusted', ['10.0.0.1'], '10.0.0.1', '6.6.6.6, 1.2.3.4', '1.2.3.4'],
  ['the proxy names nobody', ['10.0.0.1'], '10.0.0.1', undefined, '10.0.0.1'],
  ['somebody else pretends', ['10.0.0.1'], '10.0.0.2', '1.2.3.4', '10.0.0.2'],
])('whom a request counts for when %s', (_, trusted, peer, forwarded, counted) => {
  expect(peerAddress(trusted)(request(forwarded), from(peer))).toBe(counted);
});

test('peers without an address share one count', () => {
  expect(peerAddress([])(request(), null)).toBe('local');
});

// One customer's network is one peer, or the limits would be no limits for whoever has IPv6.
test.each([
  ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
  ['2001:db8:1:2:ffff:ffff:ffff:ffff', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002::', '2001:db8:1:2::/64'],
  ['2001:db8:1::3:4:5:6', '2001:db8:1:0::/64'],
  ['2001::2:3:4:5:6:7', '2001:0:2:3::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['::ffff:c000:207', '192.0.2.7'],
  ['64:ff9b::192.0.2.7', '64:ff9b:0:0::/64'],
  ['192.0.2.7', '192.0.2.7'],
  ['no address', 'no address'],
])('%s is counted as %s', (address, counted) => {
  expect(peerAddress([])(request(), from(address))).toBe(counted);
  expect(peerAddress(['10.0.0.1'])(request(address), from('10.0.0.1'))).toBe(counted);
});
