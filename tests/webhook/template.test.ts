import { describe, expect, test } from 'bun:test';
import { PRESETS } from '../../src/webhook/presets.ts';
import { EventTemplate } from '../../src/webhook/template.ts';
import { TemplateError } from '../../src/webhook/template-error.ts';

const EVENT = {
  id: 'e1',
  topic: 'attacker.scored',
  type: 'scored',
  ts: 1_795_231_317.125,
  payload: { attacker_ip: '203.0.113.9', note: '"}, "admin": true, {"', list: [1, { a: 2 }], decky: 'web-1' },
};

const render = (text: string, event = EVENT) => JSON.parse(new EventTemplate(text).render(event));

describe('a template', () => {
  test('maps an event to JSON', () => {
    const text =
      '{"ip": {{ event.payload.attacker_ip }}, "at": {{ event.time }}, "ms": {{ event.epoch_ms }}, "all": {{ event.payload }}}';
    expect(render(text)).toEqual({
      ip: '203.0.113.9',
      at: '2026-11-21T03:21:57.125000+00:00',
      ms: 1_795_231_317_125,
      all: EVENT.payload,
    });
  });

  test('keeps what an attacker typed inside its string', () => {
    expect(render('{"note": {{ event.payload.note }}, "built": {{ "by " | append: event.payload.note }}}')).toEqual({
      note: EVENT.payload.note,
      built: `by ${EVENT.payload.note}`,
    });
  });

  test('writes null for what an event lacks', () => {
    expect(render('{"x": {{ event.payload.nothing.there }}, "y": {{ event.payload.constructor }}}')).toEqual({
      x: null,
      y: null,
    });
  });

  test.each(Object.entries(PRESETS))('of the presets makes JSON of any event: %s', (_, text) => {
    const bare = { id: 'e2', topic: 'system.log', type: '', ts: 1, payload: {} };
    for (const event of [EVENT, bare]) expect(new EventTemplate(text).render(event)).toContain(event.topic);
  });

  test.each([
    ['{"a": {{ event.id | shout }}}', 'undefined filter: shout', 1, 7],
    ['{\n  "a": {% if event.id %} 1\n}', 'not closed', 2, 8],
    ['{"a":\n  {{ event..id }}}', 'expected', 2, 12],
  ])('that cannot be read names the place: %s', (text, says, line, column) => {
    const failure = attempt(() => new EventTemplate(text));
    expect(failure).toMatchObject({ line, column });
    expect(failure.message).toContain(says);
    expect(failure.message).toStartWith(`template, line ${line}, column ${column}: `);
  });

  test.each([
    ['writes no JSON', '{"a": }', 'does not write JSON'],
    ['loops for ever', '{% for i in (1..1000000000) %}{{ i }}{% endfor %}', 'limit'],
    [
      'takes its time',
      '{% for i in (1..90000) %}{% for j in (1..90000) %}{% assign x = j %}{% endfor %}{% endfor %}1',
      'limit',
    ],
    ['asks for a file', '{% include "/etc/passwd" %}', 'ENOENT'],
    ['calls itself', '{% render "self" %}', 'ENOENT'],
  ])('that %s fails for that event alone', (_, text, says) => {
    const template = new EventTemplate(text);
    expect(attempt(() => template.render(EVENT)).message).toContain(says);
  });

  test('has a limit of its own', () => {
    expect(attempt(() => new EventTemplate(' '.repeat(65 * 1024))).message).toContain('at most 65536 bytes');
  });
});

function attempt(work: () => unknown): TemplateError {
  try {
    work();
  } catch (error) {
    if (error instanceof TemplateError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
