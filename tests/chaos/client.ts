import type { Past } from './past.ts';
import { type Place, placeOf } from './place.ts';
import { RawClient, type RawFrame } from './raw-client.ts';
import type { Screen } from './screen.ts';
import { Reader, type Watch } from './verify.ts';

type Lived = { readonly opened: string; readonly url: string } | { readonly answered: number } | RawFrame;

/** What clients have lived through, all together. */
export interface Tally {
  frames: number;
  resumes: number;
  readonly resets: Map<string, number>;
}

const TRAIL = 12;
/** What a stream may be answered; everything else is a violation. 0: no answer before the end. */
const FINE = [0, 200, 503];

/** One client over all its connections. */
export class StormClient {
  readonly name: string;
  readonly watch: Watch;
  readonly screen: Screen;
  /** It has gone and nobody is to bring it back before {@link connect}. */
  away = false;
  #paused = false;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #reader: Reader;
  readonly #trail: string[] = [];
  #raw: RawClient | undefined;
  #connecting = false;
  #lived: Lived[] = [];
  #lastId = '';
  #revision = 0;

  constructor(name: string, watch: Watch, screen: Screen, token: string, past: Past) {
    this.name = name;
    this.watch = watch;
    this.screen = screen;
    this.#headers = { authorization: `Bearer ${token}` };
    this.#reader = new Reader(watch, past);
  }

  get connected(): boolean {
    return this.#connecting || this.#raw?.ended === false;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** The id that it would come back with. */
  get at(): Place | undefined {
    return placeOf(this.#lastId);
  }

  /** The revision that its snapshot contains. */
  get revision(): number {
    return this.#revision;
  }

  async connect(url: string): Promise<void> {
    if (this.connected) return;
    this.#connecting = true;
    this.away = false;
    this.#paused = false;
    this.#noteStatus();
    this.#lived.push({ opened: this.#lastId, url });
    const headers = { ...this.#headers, ...(this.#lastId === '' ? {} : { 'last-event-id': this.#lastId }) };
    try {
      this.#raw = await RawClient.open(`${url}/api/v1${this.watch.path}`, headers, (frame) => this.#take(frame));
    } finally {
      this.#connecting = false;
    }
  }

  stall(): void {
    this.#paused = true;
    this.#raw?.pause();
  }

  go(): void {
    this.#paused = false;
    this.#raw?.resume();
  }

  vanish(): void {
    this.away = true;
    this.#raw?.vanish();
  }

  /** Gone for good; who takes its place has never had an id. */
  startOver(): void {
    this.vanish();
    this.#lastId = '';
  }

  /** What it has lived through since the last time; to be looked at once the log has been copied. */
  takeLived(): readonly Lived[] {
    const lived = this.#lived;
    this.#lived = [];
    return lived;
  }

  /** @returns the violations, in words */
  examine(lived: readonly Lived[], tally: Tally): string[] {
    const problems: string[] = [];
    for (const what of lived) {
      const problem = this.#examineOne(what, tally);
      if (problem !== undefined) problems.push(`${this.name}: ${problem}\n    ${this.trail()}`);
    }
    return problems;
  }

  /** Its last frames, for a message. */
  trail(): string {
    const { status, ended } = this.#raw ?? {};
    return `${this.#trail.join(' · ')} (status ${status}, ${ended ? 'ended' : 'open'})`;
  }

  #take(frame: RawFrame): void {
    this.#lived.push(frame);
    if (frame.id === undefined) return;
    this.#lastId = frame.id;
    if (frame.event === 'snapshot') this.#revision = placeOf(frame.id)?.revision ?? 0;
  }

  #examineOne(what: Lived, tally: Tally): string | undefined {
    if ('opened' in what) return this.#opened(what.opened, what.url);
    if ('answered' in what) return `its stream was answered ${what.answered}`;
    return this.#read(what, tally);
  }

  #opened(cursor: string, url: string): string | undefined {
    this.#note(`→ ${new URL(url).port} from '${cursor}'`);
    return this.#reader.opened(cursor);
  }

  #read(frame: RawFrame, tally: Tally): string | undefined {
    tally.frames += 1;
    if (frame.event === 'resumed') tally.resumes += 1;
    if (frame.event === 'reset') tally.resets.set(frame.data, (tally.resets.get(frame.data) ?? 0) + 1);
    this.#note(`${frame.event} ${frame.event === 'reset' ? frame.data : frame.id}`);
    const problem = this.#reader.read(frame);
    this.screen.show(frame);
    return problem;
  }

  #noteStatus(): void {
    const status = this.#raw?.status ?? 0;
    if (!FINE.includes(status)) this.#lived.push({ answered: status });
  }

  #note(text: string): void {
    this.#trail.push(text);
    if (this.#trail.length > TRAIL) this.#trail.shift();
  }
}
