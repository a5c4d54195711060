import { expect, test } from 'bun:test';
import { resolve } from 'node:path';
import { AppError } from '../../src/errors.ts';
import { errorFields, WS_CODES, type WsCode } from '../../src/ws/ws-codes.ts';

const rows = Object.entries<WsCode>(WS_CODES).map(([name, { code, ends, retry, text }]) =>
  [code, `\`${name}\``, ends, retry ? 'yes' : 'no', text].join(' | '),
);

test('the README lists the codes as they are', async () => {
  const readme = await Bun.file(resolve(import.meta.dir, '../../README.md')).text();
  const [, table = ''] = readme.split(
    '| code | name | ends the socket | retry | when |\n| --- | --- | --- | --- | --- |\n',
  );
  const listed = (table.split('\n\n')[0] ?? '').split('\n').map((line) => line.replace(/^\| | \|$/g, ''));
  expect(listed).toEqual(rows);
});

test('no two have the same number, and those of our own are in the range for applications', () => {
  const codes = Object.values<WsCode>(WS_CODES).map(({ code }) => code);
  expect(new Set(codes).size).toBe(codes.length);
  for (const code of codes) expect([1006, 1009, 1012].includes(code) || (code >= 4000 && code <= 4999)).toBe(true);
});

test('an error is told by its row', () => {
  expect(errorFields(new AppError('stream_limit', 'close one'))).toEqual({
    code: 4429,
    name: 'stream_limit',
    retry: true,
    detail: 'close one',
  });
});
