import { expect, test } from 'bun:test';
import { RepeatedAdditions } from '../../src/decky/repeated-additions.ts';
import { type Configured, ServiceIsThere } from '../../src/decky/service-edit.ts';
import { AppError } from '../../src/errors.ts';

/** A decky to which services can be added, each at a moment that the test chooses. */
function deck(now = () => 0) {
  const services: string[] = [];
  const additions = new RepeatedAdditions(now);
  const add = (key: string, until: Promise<unknown> = Promise.resolve()) =>
    additions.add(key, async (): Promise<Configured> => {
      await until;
      if (services.includes('ftp')) throw new ServiceIsThere('web', 'ftp');
      services.push('ftp');
      return { name: 'web', topology_id: null, services: [...services], configs: {} };
    });
  return { services, additions, add };
}

test('the second of two that came at once is told what the first was told', async () => {
  const { add, services } = deck();
  const gate = Promise.withResolvers<void>();
  const both = [add('page', gate.promise), add('page')];
  gate.resolve();
  expect((await Promise.all(both)).map((told) => told.services)).toEqual([['ftp'], ['ftp']]);
  expect(services).toEqual(['ftp']);
});

test('so is one that was sent before the answer had arrived, and no later one', async () => {
  let now = 0;
  const { add } = deck(() => now);
  await add('page');
  now = 2000;
  expect((await add('page')).services).toEqual(['ftp']);
  // That it was asked again does not make it new.
  now = 2001;
  await expect(add('page')).rejects.toBeInstanceOf(ServiceIsThere);
});

test('somebody else is told that it is there', async () => {
  const { add } = deck();
  await add('page');
  await expect(add('another page')).rejects.toBeInstanceOf(ServiceIsThere);
});

test('what was taken away meanwhile is added again, and another refusal stays one', async () => {
  const { add, additions, services } = deck();
  await add('page');
  services.length = 0;
  await add('page');
  expect(services).toEqual(['ftp']);
  const refused = new AppError('conflict', 'others change it');
  await expect(additions.add('page', () => Promise.reject(refused))).rejects.toBe(refused);
});

test('one whose first has failed is made as if it were alone', async () => {
  const { add, additions, services } = deck();
  const first = additions.add('page', () => Promise.reject(new Error('no such image')));
  expect((await add('page')).services).toEqual(['ftp']);
  await expect(first).rejects.toThrow('no such image');
  expect(services).toEqual(['ftp']);
});
