import { expect, test } from 'bun:test';
import type { Json } from '../../src/bus/event.ts';
import { validConfig } from '../../src/catalog/service-config.ts';
import { serviceNamed } from '../../src/catalog/services.ts';
import { AppError } from '../../src/errors.ts';

function read(name: string, config: Record<string, Json>, lists?: 'text') {
  const service = serviceNamed(name);
  if (service === undefined) throw new Error(`there is no service ${name}`);
  return validConfig(service, config, lists);
}

/** The code of what was thrown, and how its message begins. */
function refusalOf(act: () => unknown): string[] {
  try {
    act();
  } catch (error) {
    if (error instanceof AppError) return [error.code, error.message.split(' ').slice(0, 2).join(' ')];
  }
  return [];
}

test.each<[string, string, Json, Json]>([
  ['text', 'http.server_header', 'nginx', 'nginx'],
  ['a number as text', 'http.server_header', 7, '7'],
  ['a list as text', 'http.server_header', ['a'], '["a"]'],
  ['a long text', 'http.custom_body', 'hello', 'hello'],
  ['Base64', 'http.custom_body', 'b64:aMOp', 'hé'],
  ['Base64 without padding', 'http.custom_body', 'b64:eA', 'x'],
  ['nothing in Base64', 'http.custom_body', 'b64:', ''],
  ['a whole number', 'http.response_code', 404, 404],
  ['a fraction', 'http.response_code', 8.9, 8],
  ['a yes as a number', 'http.response_code', true, 1],
  ['a number in words', 'http.response_code', ' +4_0 ', 40],
  ['the highest port', 'smtp_relay.upstream_port', 65_535, 65_535],
  ['yes', 'rdp.nla', 'YES', true],
  ['one in words', 'rdp.nla', '1', true],
  ['off', 'rdp.nla', 'off', false],
  ['no', 'rdp.nla', false, false],
  ['a choice', 'smtp.mta', 'exim', 'exim'],
  ['choices, each once', 'http.http_versions', ['http/2', 'http/2'], ['http/2']],
])('takes %s', (_, path, value, taken) => {
  const [service = '', key = ''] = path.split('.');
  expect(read(service, { [key]: value })).toEqual({ [key]: taken });
});

test.each<[string, string, Json]>([
  ['no Base64', 'http.custom_body', 'b64:a*b'],
  ['no UTF-8', 'http.custom_body', 'b64:/w=='],
  ['a fraction in words', 'http.response_code', '8.0'],
  ['a word', 'http.response_code', 'oops'],
  ['a list', 'http.response_code', [1]],
  ['an object', 'http.response_code', {}],
  ['infinity', 'http.response_code', Number.POSITIVE_INFINITY],
  ['more than a number holds', 'http.response_code', '9'.repeat(400)],
  ['a port that is none', 'smtp_relay.upstream_port', 65_536],
  ['a port below zero', 'smtp_relay.upstream_port', -1],
  ['a number for yes', 'rdp.nla', 1],
  ['another word for yes', 'rdp.nla', 'maybe'],
  ['no such choice', 'smtp.mta', 'qmail'],
  ['text for choices', 'http.http_versions', 'http/2'],
  ['no choices', 'http.http_versions', []],
  ['choices that are none', 'http.http_versions', ['http/2', 'spdy']],
])('refuses %s and names the key, not the value', (_, path, value) => {
  const [service = '', key = ''] = path.split('.');
  expect(refusalOf(() => read(service, { [key]: value }))).toEqual(['bad_request', `${key} must`]);
});

test('drops what is empty and what the service does not know', () => {
  expect(read('ssh', { user: '', password: null, port: 22, __proto__: 'x' })).toEqual({});
  expect(read('ftp', { banner: 'x' })).toEqual({});
});

test('takes choices as words where the text of a file can hold no list', () => {
  expect(read('http', { http_versions: 'http/1.1, http/2' }, 'text')).toEqual({
    http_versions: ['http/1.1', 'http/2'],
  });
});
