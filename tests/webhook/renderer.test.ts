import { afterEach, describe, expect, test } from 'bun:test';
import { PRESETS } from '../../src/webhook/presets.ts';
import { Renderer } from '../../src/webhook/renderer.ts';
import { TemplateError } from '../../src/webhook/template-error.ts';

/** One step of the language, which looks at no limit before it is over: minutes. */
const ENDLESS = '{% assign i = event.payload.list | find_index_exp: "i", "event.payload.list contains -1" %}1';
const EVENT = {
  ...{ id: 'e1', topic: 'attacker.scored', type: 'scored', ts: 1 },
  payload: { list: Array.from({ length: 100_000 }, (_, index) => index) },
};
const SMALL = { ...EVENT, payload: { who: '203.0.113.9' } };

describe('templates in a thread of their own', () => {
  const renderers: Renderer[] = [];
  afterEach(() => {
    for (const renderer of renderers.splice(0)) renderer.stop();
  });
  const start = (limits?: ConstructorParameters<typeof Renderer>[0]) => {
    const made = new Renderer(limits);
    renderers.push(made);
    return made;
  };
  const failure = (rendering: Promise<string>) =>
    rendering.then(
      () => undefined,
      (error: unknown) => error,
    );

  test('one that never ends is ended, and those behind it are rendered', async () => {
    const renderer = start({ renderMs: 200 });
    const results = await Promise.all([
      failure(renderer.render(ENDLESS, EVENT)),
      renderer.render('{"who": {{ event.payload.who }}}', SMALL),
      failure(renderer.render(ENDLESS, EVENT)),
      renderer.render(PRESETS.slack, SMALL).then((body) => body.includes('attacker.scored')),
    ]);
    const ended = expect.objectContaining({ message: 'template: it takes longer than 200 ms', isPassing: true });
    expect(results).toEqual([ended, '{"who":"203.0.113.9"}', ended, true]);
  });

  test('nobody else waits meanwhile', async () => {
    const renderer = start({ renderMs: 200 });
    let turns = 0;
    const turning = setInterval(() => {
      turns += 1;
    });
    await failure(renderer.render(ENDLESS, EVENT));
    clearInterval(turning);
    expect(turns).toBeGreaterThan(10);
  });

  test('a failure comes back with its place, and concerns that event alone', async () => {
    const renderer = start();
    const [unknown, wrong, fine] = await Promise.all([
      failure(renderer.render('{"a":\n {{ event.id | shout }}}', SMALL)),
      failure(renderer.render('{{ event.id }} {{ event.id }}', SMALL)),
      renderer.render('{{ event.id }}', SMALL),
    ]);
    expect(unknown).toBeInstanceOf(TemplateError);
    expect(unknown).toMatchObject({
      message: 'template, line 2, column 2: undefined filter: shout',
      ...{ line: 2, column: 2, isPassing: false },
    });
    expect(wrong).toMatchObject({ message: expect.stringContaining('does not write JSON'), line: undefined });
    expect(fine).toBe('"e1"');
  });

  test('what waits when it is stopped is told so, and it can begin anew', async () => {
    const renderer = start();
    const cut = [failure(renderer.render(ENDLESS, EVENT)), failure(renderer.render('1', SMALL))];
    renderer.stop();
    for (const error of await Promise.all(cut)) expect(error).toMatchObject({ isPassing: true });
    expect(await renderer.render('1', SMALL)).toBe('1');
  });

  test('a thread that does not come up in time is given up, and the next one tries anew', async () => {
    const error = await failure(start({ startMs: 0 }).render('1', SMALL));
    expect(error).toMatchObject({ message: expect.stringContaining('no thread within 0 ms'), isPassing: true });
  });
});
