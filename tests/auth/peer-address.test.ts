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
