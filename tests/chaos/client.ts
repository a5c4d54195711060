import type { Line, RawFrame, Way } from './line.ts';
import type { Past } from './past.ts';
import { type Place, placeOf } from './place.ts';
import type { Screen } from './screen.ts';
import { Reader, type Watch } from './verify.ts';

interface Opening {
  readonly opened: string;
  readonly url: string;
  readonly by: string;
}

type Lived = Opening | { readonly answered: number } | RawFrame;

/** What clients have lived through, all together. */
export interface Tally {
  frames: number;
  resumes: number;
  /** Of these, by another way than the one before. */
  moves: number;
  readonly resets: Map<string, number>;
}

const TRAIL = 12;
/** What a stream may be answered; everything else is a violation. 0: no answer before the end. */
const FINE = [0, 200, 503];

/** One client over all its connections, by one way or by several in turn. */
export class StormClient {
  readonly name: string;
  readonly watch: Watch;
  readonly screen: Screen;
  /** It has gone and nobody is to bring it back before {@link connect}. */
  away = false;
  #paused = false;
  readonly #ways: readonly [Way, ...Way[]];
  readonly #reader: Reader;
  readonly #trail: string[] = [];
  #line: Line | undefined;
  #turn = 0;
  /** The way that it has taken, and the one before: among what it has lived through. */
  #by = '';
  #cameBy = '';
  #connecting = false;
  #lived: Lived[] = [];
  #lastId = '';
  #examinedId = '';
  #revision = 0;

  constructor(name: string, watch: Watch, screen: Screen, ways: readonly [Way, ...Way[]], past: Past) {
    this.name = name;
    this.watch = watch;
    this.screen = screen;
    this.#ways = ways;
    this.#reader = new Reader(watch, past);
  }

  get connected(): boolean {
    return this.#connecting || this.#line?.ended === false;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** The id that it would come back with. */
  get at(): Place | undefined {
    return placeOf(this.#lastId);
  }

  /** Up to where its life has been examined. */
  get examinedAt(): Place | undefined {
    return placeOf(this.#examinedId);
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
    const way = this.#ways[this.#turn % this.#ways.length] ?? this.#ways[0];
    this.#turn += 1;
    this.#lived.push({ opened: this.#lastId, url, by: way.name });
    try {
      this.#line = await way.open(url, this.watch.path, this.#lastId, (frame) => this.#take(frame));
    } finally {
      this.#connecting = false;
    }
  }

  stall(): void {
    this.#paused = true;
    this.#line?.pause();
  }

  go(): void {
    this.#paused = false;
    this.#line?.resume();
  }

  vanish(): void {
    this.away = true;
    this.#line?.vanish();
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
    const { status, ended } = this.#line ?? {};
    return `${this.#trail.join(' · ')} (status ${status}, ${ended ? 'ended' : 'open'})`;
  }

  #take(frame: RawFrame): void {
    this.#lived.push(frame);
    if (frame.id === undefined) return;
    this.#lastId = frame.id;
    if (frame.event === 'snapshot') this.#revision = placeOf(frame.id)?.revision ?? 0;
  }

  #examineOne(what: Lived, tally: Tally): string | undefined {
    if ('opened' in what) return this.#opened(what);
    if ('answered' in what) return `its stream was answered ${what.answered}`;
    return this.#read(what, tally);
  }

  #opened({ opened, url, by }: Opening): string | undefined {
    this.#note(`→ ${new URL(url).port} by ${by} from '${opened}'`);
    this.#cameBy = this.#by;
    this.#by = by;
    return this.#reader.opened(opened);
  }

  #read(frame: RawFrame, tally: Tally): string | undefined {
    tally.frames += 1;
    if (frame.event === 'resumed') {
      tally.resumes += 1;
      if (this.#cameBy !== this.#by) tally.moves += 1;
    }
    if (frame.event === 'reset') tally.resets.set(frame.data, (tally.resets.get(frame.data) ?? 0) + 1);
    this.#note(`${frame.event} ${frame.event === 'reset' ? frame.data : frame.id}`);
    const problem = this.#reader.read(frame);
    this.#examinedId = frame.id ?? this.#examinedId;
    this.screen.show(frame);
    return problem;
  }

  #noteStatus(): void {
    const status = this.#line?.status ?? 0;
    if (!FINE.includes(status)) this.#lived.push({ answered: status });
  }

  #note(text: string): void {
    this.#trail.push(text);
    if (this.#trail.length > TRAIL) this.#trail.shift();
  }
}
