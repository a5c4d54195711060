import { describe, expect, test } from 'bun:test';
import { createHmac } from 'node:crypto';
import { Webhook as StandardWebhook } from 'standardwebhooks';
import { Webhook as SvixWebhook } from 'svix';
import { decnetBody } from '../../src/webhook/body.ts';
import { signatureHeaders, standardSecret } from '../../src/webhook/signature.ts';

const SECRET = 'a secret of an operator: ä€😀';
const BODY = Buffer.from('{"a":"ä"}');
const now = () => Math.floor(Date.now() / 1000);

describe('the signatures of a request', () => {
  test.each([SECRET, `whsec_${Buffer.from('0123456789abcdef01234567').toString('base64')}`])(
    'satisfy the libraries of receivers (%s)',
    (secret) => {
      const headers = signatureHeaders({ current: secret }, 'msg_1', now(), BODY);
      const key = standardSecret(secret);
      expect(new StandardWebhook(key).verify(BODY.toString(), headers)).toEqual({ a: 'ä' });
      const svixHeaders = {
        'svix-id': headers['webhook-id'],
        'svix-timestamp': headers['webhook-timestamp'],
        'svix-signature': headers['webhook-signature'],
      };
      new SvixWebhook(key).verify(BODY.toString(), svixHeaders);
    },
  );

  test("satisfy DECNET's receivers, who check the raw body alone", () => {
    const expected = createHmac('sha256', SECRET).update(BODY).digest('hex');
    const headers = signatureHeaders({ current: SECRET }, 'msg_1', 1, BODY);
    expect(headers['X-DECNET-Signature']).toBe(`sha256=${expected}`);
  });

  test('are accepted under either secret while a rotation lasts, and under no other', () => {
    const headers = signatureHeaders({ current: 'the new secret, 16+', previous: SECRET }, 'msg_1', now(), BODY);
    for (const secret of ['the new secret, 16+', SECRET]) {
      new StandardWebhook(standardSecret(secret)).verify(BODY.toString(), headers);
    }
    const stranger = new StandardWebhook(standardSecret('another secret, 16+'));
    expect(() => stranger.verify(BODY.toString(), headers)).toThrow();
  });

  test('bind the id, the time and the body', () => {
    const headers = signatureHeaders({ current: SECRET }, 'msg_1', now(), BODY);
    const receiver = new StandardWebhook(standardSecret(SECRET));
    expect(() => receiver.verify('{"a":"b"}', headers)).toThrow();
    expect(() => receiver.verify(BODY.toString(), { ...headers, 'webhook-id': 'msg_2' })).toThrow();
    const later = String(Number(headers['webhook-timestamp']) + 1);
    expect(() => receiver.verify(BODY.toString(), { ...headers, 'webhook-timestamp': later })).toThrow();
    const old = signatureHeaders({ current: SECRET }, 'msg_1', now() - 3600, BODY);
    expect(() => receiver.verify(BODY.toString(), old)).toThrow('too old');
  });
});

describe("DECNET's body", () => {
  test('is the golden one', () => {
    const event = {
      id: 'd128',
      topic: 'attacker.scored',
      type: 'scored',
      ts: Date.parse('2026-11-21T03:23:33.564Z') / 1000 + 0.000712,
      payload: { z: 1, a: 'é' },
    };
    expect(decnetBody(event).toString()).toBe(
      '{"id":"d128","payload":{"a":"é","z":1},"topic":"attacker.scored","ts":"2026-11-21T03:23:33.564712+00:00","type":"scored","v":1}',
    );
  });

  test('sorts keys by code point at every depth and leaves out what is not there', () => {
    const payload = { '\u{1F600}': 1, '\uFFFD': 2, b: [{ d: 1, c: null }], gone: undefined, '': 0 };
    const text = decnetBody({ id: 'x', topic: 'a.b', type: '', ts: 1_795_231_317, payload }).toString();
    expect(text).toBe(
      '{"id":"x","payload":{"":0,"b":[{"c":null,"d":1}],"\uFFFD":2,"\u{1F600}":1},"topic":"a.b","ts":"2026-11-21T03:21:57+00:00","type":"","v":1}',
    );
  });
});
