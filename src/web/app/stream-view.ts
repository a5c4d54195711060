import { type Cursor, parseCursor } from '../../bus/cursor.ts';
import { type Api, messageOf } from './api.ts';
import { Contiguity, type Counters } from './contiguity.ts';
import { create, find } from './dom.ts';
import { placeOf, proofOf } from './event-id.ts';
import { type Entry, EventList } from './event-list.ts';
import type { Frame } from './frame.ts';
import { isRecord, textField } from './json.ts';
import { LiveStream, type StreamState } from './live-stream.ts';
import type { StreamChoice } from './streams.ts';

/** Frames are drawn together after so many milliseconds: under load the cost per frame falls. */
const DRAW_MS = 40;
/** More than the list keeps need not wait to be drawn. */
const MOST_WAITING = 500;

const COUNTED = ['events', 'duplicates', 'gaps', 'resumes', 'resets'] as const;

const STATE_TEXTS: Readonly<Record<StreamState, string>> = {
  connecting: 'connecting…',
  live: 'live',
  cut: 'cut, reconnecting…',
  reconnecting: 'reconnecting…',
  refused: 'refused, waiting…',
  ended: 'ended',
};

/** A connection that went on after a loss. */
interface Resumption {
  readonly id: string;
  /** Where the stream stood when it went on; the events up to there had been missed. */
  readonly missedUntil: Cursor | undefined;
  /** Milliseconds; `undefined` when the page did not see the loss. */
  readonly awayMs: number | undefined;
  replayed: number;
}

/** Shows one stream: the state of its connection, the proof that it is complete, and its events. */
export class StreamView {
  readonly #api: Api;
  readonly #onTopologyStatus: (status: string) => void;
  readonly #list = new EventList(find('event-list', HTMLOListElement), find('no-events', HTMLElement));
  readonly #state = find('state', HTMLElement);
  readonly #why = find('state-why', HTMLElement);
  readonly #position = find('position', HTMLElement);
  readonly #verdict = find('verdict', HTMLElement);
  readonly #resumeNote = find('resume-note', HTMLElement);
  readonly #cut = find('cut', HTMLButtonElement);
  readonly #cutNote = find('cut-note', HTMLElement);
  readonly #counts: Readonly<Record<keyof Counters, HTMLElement>> = {
    events: find('count-events', HTMLElement),
    duplicates: find('count-duplicates', HTMLElement),
    gaps: find('count-gaps', HTMLElement),
    resumes: find('count-resumes', HTMLElement),
    resets: find('count-resets', HTMLElement),
  };
  #stream: LiveStream | undefined;
  #chain = new Contiguity();
  #waiting: Entry[] = [];
  #drawTimer: ReturnType<typeof setTimeout> | undefined;
  #lostAt: number | undefined;
  #resumption: Resumption | undefined;

  /** @param onTopologyStatus told whenever the stream says which status its topology has */
  constructor(api: Api, onTopologyStatus: (status: string) => void) {
    this.#api = api;
    this.#onTopologyStatus = onTopologyStatus;
    this.#cut.addEventListener('click', () => void this.#cutConnection());
  }

  /** Leaves the stream that is shown, if any, and opens another one. */
  show(choice: StreamChoice): void {
    this.stop();
    this.#stream = new LiveStream(this.#api, choice, {
      stateChanged: (state, why) => this.#stateChanged(state, why),
      frameArrived: (frame) => this.#frameArrived(frame),
      position: () => this.#chain.position,
    });
    this.#stream.open();
  }

  /** Leaves the stream and forgets what it showed. */
  stop(): void {
    this.#stream?.close();
    this.#stream = undefined;
    this.#chain = new Contiguity();
    this.#waiting = [];
    this.#lostAt = undefined;
    this.#resumption = undefined;
    this.#list.clear();
    this.#cutNote.textContent = '';
    this.#draw();
  }

  #stateChanged(state: StreamState, why: string): void {
    this.#state.textContent = STATE_TEXTS[state];
    this.#state.dataset.state = state;
    this.#why.textContent = why;
    this.#cut.disabled = state !== 'live';
    if (['cut', 'reconnecting', 'refused'].includes(state)) this.#lostAt ??= Date.now();
    if (state === 'refused') this.#refused();
    if (state === 'live') this.#cutNote.textContent = '';
  }

  #refused(): void {
    this.#chain.refused();
    this.#drawPosition();
  }

  #frameArrived(frame: Frame): void {
    const verdict = this.#chain.accept(frame);
    if (frame.control === 'resumed') this.#resumed(frame);
    // After a snapshot nothing is replayed: what was missed is part of it.
    if (frame.control === 'snapshot' || frame.control === 'ready') {
      this.#lostAt = undefined;
      this.#resumption = undefined;
    }
    const replayed = this.#isReplayed(frame);
    if (replayed && this.#resumption !== undefined) this.#resumption.replayed += 1;
    this.#readTopologyStatus(frame);
    if (frame.control !== 'position') {
      this.#waiting.push({ frame, verdict, replayed });
      if (this.#waiting.length > MOST_WAITING) this.#waiting.shift();
    }
    this.#drawTimer ??= setTimeout(() => this.#draw(), DRAW_MS);
  }

  #resumed({ id, data }: Frame): void {
    const awayMs = this.#lostAt === undefined ? undefined : Date.now() - this.#lostAt;
    this.#lostAt = undefined;
    const position = isRecord(data) ? textField(data, 'position') : undefined;
    this.#resumption = { id, missedUntil: parseCursor(position ?? ''), awayMs, replayed: 0 };
  }

  #isReplayed({ control, id }: Frame): boolean {
    const missedUntil = this.#resumption?.missedUntil;
    const cursor = parseCursor(id);
    if (control !== undefined || missedUntil === undefined || cursor === undefined) return false;
    return cursor.epoch === missedUntil.epoch && cursor.offset <= missedUntil.offset;
  }

  #readTopologyStatus({ name, data }: Frame): void {
    if (!isRecord(data)) return;
    const payload = data.payload;
    let status: string | undefined;
    if (name === 'snapshot') status = textField(data, 'status');
    if (name === 'status' && isRecord(payload)) status = textField(payload, 'state');
    if (status !== undefined) this.#onTopologyStatus(status);
  }

  #draw(): void {
    clearTimeout(this.#drawTimer);
    this.#drawTimer = undefined;
    this.#list.add(this.#waiting);
    this.#waiting = [];
    this.#drawPosition();
    const { counters } = this.#chain;
    for (const name of COUNTED) this.#counts[name].textContent = String(counters[name]);
    this.#counts.gaps.dataset.broken = String(counters.gaps > 0);
    this.#counts.duplicates.dataset.broken = String(counters.duplicates > 0);
    this.#drawVerdict(counters);
    this.#resumeNote.textContent = this.#resumption === undefined ? '' : describe(this.#resumption);
  }

  #drawPosition(): void {
    const { position } = this.#chain;
    if (position === undefined) {
      this.#position.textContent = 'none yet';
      return;
    }
    const proof = create('span', 'id-proof', proofOf(position));
    proof.title = 'The proof: it stands for this event and all before it.';
    this.#position.replaceChildren(placeOf(position), proof);
  }

  #drawVerdict({ events, gaps, duplicates }: Counters): void {
    const broken = gaps > 0 || duplicates > 0;
    const waiting = this.#chain.position === undefined;
    this.#verdict.dataset.verdict = broken ? 'broken' : waiting ? 'waiting' : 'complete';
    if (broken) this.#verdict.textContent = 'The stream is not what was promised: something is missing or came twice.';
    else if (waiting) this.#verdict.textContent = 'Waiting for the stream to say where it stands.';
    else this.#verdict.textContent = `Complete: ${plural(events, 'event')}, no gap, no repeat.`;
  }

  async #cutConnection(): Promise<void> {
    this.#cut.disabled = true;
    try {
      const cut = await this.#api.cutStreams();
      this.#cutNote.textContent = `The server dropped ${plural(cut, 'stream')} of yours.`;
    } catch (error) {
      this.#cutNote.textContent = messageOf(error);
      this.#cut.disabled = this.#state.dataset.state !== 'live';
    }
  }
}

function describe({ id, awayMs, replayed }: Resumption): string {
  const away = awayMs === undefined ? '' : ` after ${(awayMs / 1000).toFixed(1)} s away`;
  return `Resumed from ${placeOf(id)}${away}: ${replayed === 0 ? 'nothing was missed' : `${plural(replayed, 'missed event')} replayed`}.`;
}

function plural(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`;
}
