import type { Verdict } from './contiguity.ts';
import { create } from './dom.ts';
import { placeOf } from './event-id.ts';
import type { Frame } from './frame.ts';
import { isRecord, numberField } from './json.ts';

/** How many rows stay in the document. */
const MOST_ROWS = 500;
/** Data longer than this is folded away. */
const SHORT_TEXT = 160;

const TIME = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  fractionalSecondDigits: 3,
});

/** A frame with what the page found out about it. */
export interface Entry {
  readonly frame: Frame;
  readonly verdict: Verdict;
  /** Whether it happened while the connection was lost. */
  readonly replayed: boolean;
}

/** The list of frames, newest first. */
export class EventList {
  readonly #list: HTMLOListElement;
  readonly #empty: HTMLElement;

  /** @param empty shown as long as there is nothing to list */
  constructor(list: HTMLOListElement, empty: HTMLElement) {
    this.#list = list;
    this.#empty = empty;
  }

  /** @param entries in the order of arrival */
  add(entries: readonly Entry[]): void {
    const rows = entries.slice(-MOST_ROWS).map(row).reverse();
    this.#list.prepend(...rows);
    while (this.#list.childElementCount > MOST_ROWS) this.#list.lastElementChild?.remove();
    this.#empty.hidden = this.#list.childElementCount > 0;
  }

  clear(): void {
    this.#list.replaceChildren();
    this.#empty.hidden = false;
  }
}

function row({ frame, verdict, replayed }: Entry): HTMLLIElement {
  const item = create('li');
  item.dataset.testid = frame.control === undefined ? 'event-row' : 'control-row';
  item.dataset.id = frame.id;
  item.dataset.name = nameOf(frame);
  item.dataset.verdict = verdict;
  const id = create('code', 'id', placeOf(frame.id));
  id.title = frame.id;
  item.append(id, create('span', 'name', nameOf(frame)), tag(frame, verdict, replayed));
  const time = timeOf(frame);
  if (time !== undefined) item.append(time);
  if (frame.control === undefined) item.dataset.origin = replayed ? 'replayed' : 'live';
  item.append(content(frame));
  return item;
}

/** Frames of a pattern stream are unnamed; there the topic says what happened. */
function nameOf({ name, data }: Frame): string {
  const topic = name === 'message' && isRecord(data) ? data.topic : undefined;
  return typeof topic === 'string' ? topic : name;
}

function tag(frame: Frame, verdict: Verdict, replayed: boolean): HTMLElement {
  if (verdict === 'gap' || verdict === 'duplicate') return create('span', 'tag bad', verdict);
  if (frame.control !== undefined) return create('span', 'tag', 'stream');
  return replayed ? create('span', 'tag replayed', 'replayed') : create('span', 'tag live', 'live');
}

function timeOf({ data }: Frame): HTMLTimeElement | undefined {
  const seconds = isRecord(data) ? numberField(data, 'ts') : undefined;
  const date = new Date((seconds ?? Number.NaN) * 1000);
  if (Number.isNaN(date.getTime())) return undefined;
  const time = create('time', 'time', TIME.format(date));
  time.dateTime = date.toISOString();
  return time;
}

function content(frame: Frame): HTMLElement {
  const data = frame.control === undefined && isRecord(frame.data) ? frame.data.payload : frame.data;
  const text = JSON.stringify(data) ?? '';
  if (text.length <= SHORT_TEXT) return create('code', 'payload', text);
  const details = create('details', 'payload');
  const summary = create('summary');
  summary.append(create('code', '', `${text.slice(0, SHORT_TEXT)} …`));
  details.append(summary, create('pre', '', JSON.stringify(data, null, 2)));
  return details;
}
