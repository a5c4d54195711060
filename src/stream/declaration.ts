import type { TSchema } from 'elysia';
import { mayUse, mayUseAll, type Subject } from '../auth/rights.ts';
import type { Entry } from '../bus/entry.ts';
import { assertPattern, matcher, TopicError } from '../bus/topic.ts';
import { AppError } from '../errors.ts';
import type { Parameter } from '../http/operation.ts';
import type { Snapshot } from './snapshot.ts';
import type { Aside, Subscription } from './subscription.ts';
import type { View } from './view.ts';

/** A stream as data. Adding one is adding one of these; nothing else knows which streams there are. */
export interface StreamDeclaration {
  readonly name: string;
  /** Below `/api/v1`; `:id` where the stream belongs to one thing. */
  readonly path: string;
  /** The channel that it reads, for the thing with this id. */
  channel(id: string): string;
  /** The frame's name for a topic; `undefined` for unnamed frames, which every EventSource hears. */
  eventName(topic: string): string | undefined;
  /**
   * Patterns of the events that it shows. The table of rights says who may be shown which: where clients choose among them,
   * what they may not see is left out; elsewhere only those are let in who may see all.
   */
  readonly topics: readonly string[];
  /** Refuses ids of things that are not there; absent where there is no id. */
  assertExists?(id: string): Promise<void>;
  /** The state that a fresh client starts from; absent on streams without one. */
  snapshot?(id: string): Promise<Snapshot>;
  /** Name of the frame that holds the state; default `snapshot`. */
  readonly snapshotEvent?: string;
  /**
   * What one client sees of it, where that follows from the thing or from the query. Called before each opening.
   * @throws {AppError} `invalid`, `not_found`
   */
  narrow?(id: string, query: URLSearchParams): Promise<Narrowing>;
  /** One line for the documents: what is streamed. */
  readonly summary?: string;
  /** What a snapshot holds, for the documents; a stream with a snapshot has one, whoever reads the snapshot. */
  readonly snapshotSchema?: TSchema;
  /** What the frame of an event holds, for the documents; absent: the event. */
  readonly eventSchema?: TSchema;
  /** What else it reads of the query, for the documents. */
  readonly parameters?: readonly Parameter[];
  /** True where clients choose among the events by `?topics=`. */
  readonly takesPatterns?: boolean;
}

/** What a client sees of a declared stream. */
export interface Narrowing {
  /** Same key, same events. Without white space. */
  readonly key: string;
  /** Whether an event is shown; absent: all are. */
  picks?(entry: Entry): boolean;
  /** The data of an event's frame; absent: the event. */
  dataOf?(entry: Entry, epoch: string): string;
  /** Learns what {@link dataOf} has to know of an epoch. Called before frames of it are encoded; absent: nothing. */
  learn?(epoch: string): Promise<void>;
  /** In place of the declaration's snapshot. */
  snapshot?(): Promise<Snapshot>;
  readonly aside?: Aside;
  /** True where what the client resumes from is no cursor and not meant as one: it starts anew, without a reset. */
  readonly startsAnew?: boolean;
}

const MAX_PATTERNS = 50;

/**
 * What a client subscribes to by opening a declared stream.
 * @param subject whom it is shown to
 * @param query of the request: `topics` (comma list of patterns, where the stream takes them) and `once`
 * @param narrowing what {@link StreamDeclaration.narrow} made of it
 * @throws {AppError} `forbidden`, `invalid`
 */
export function subscriptionTo(
  declaration: StreamDeclaration,
  id: string,
  subject: Subject,
  query: URLSearchParams,
  narrowing?: Narrowing,
): Omit<Subscription, 'request'> {
  const { takesPatterns = false, topics } = declaration;
  if (!takesPatterns && !topics.every((pattern) => mayUseAll(subject, 'subscribe', pattern))) {
    throw new AppError('forbidden', `Insufficient permissions: this stream shows all of ${topics.join(', ')}`);
  }
  const patterns = takesPatterns ? patternsOf(query.get('topics')) : undefined;
  const view = new DeclaredView(declaration, id, subject, patterns, narrowing);
  const snapshot = narrowing?.snapshot?.bind(narrowing) ?? declaration.snapshot?.bind(declaration, id);
  const aside = narrowing?.aside;
  return {
    view,
    once: isOnce(query.get('once')),
    ...(snapshot === undefined ? {} : { snapshot }),
    ...(aside === undefined ? {} : { aside }),
  };
}

/** A class, not an object with closures: there is one for each open stream. */
class DeclaredView implements View {
  readonly key: string;
  readonly channel: string;
  readonly #declaration: StreamDeclaration;
  readonly #subject: Subject;
  readonly #patterns: readonly string[] | undefined;
  readonly #narrowing: Narrowing | undefined;
  /** Made when it is first asked: of all who look the same one window asks. */
  #isShown: ((topic: string) => boolean) | undefined;

  constructor(
    declaration: StreamDeclaration,
    id: string,
    subject: Subject,
    patterns: readonly string[] | undefined,
    narrowing: Narrowing | undefined,
  ) {
    this.#narrowing = narrowing;
    this.#declaration = declaration;
    this.#subject = subject;
    this.#patterns = patterns;
    this.key = [declaration.name, keyOf(subject), id, narrowing?.key ?? '', ...(patterns ?? [])].join(' ');
    this.channel = declaration.channel(id);
  }

  get filtered(): boolean {
    return this.#patterns !== undefined || this.#narrowing?.picks !== undefined;
  }

  get snapshotEvent(): string | undefined {
    return this.#declaration.snapshotEvent;
  }

  picks(entry: Entry): boolean {
    return this.#narrowing?.picks?.(entry) ?? true;
  }

  dataOf(entry: Entry, epoch: string): string {
    return this.#narrowing?.dataOf?.(entry, epoch) ?? entry.data;
  }

  async learn(epoch: string): Promise<void> {
    await this.#narrowing?.learn?.(epoch);
  }

  eventName(topic: string): string | undefined {
    return this.#declaration.eventName(topic);
  }

  shows(topic: string): boolean {
    this.#isShown ??= shownTo(this.#subject, this.#declaration.topics, this.#patterns ?? ['>']);
    return this.#isShown(topic);
  }
}

function shownTo(subject: Subject, ...lists: (readonly string[])[]): (topic: string) => boolean {
  const all = [mayUse(subject, 'subscribe'), ...lists.map(matcher)];
  return (topic) => all.every((isShown) => isShown(topic));
}

/** Those with the same are shown the same. Patterns hold no white space. */
function keyOf(subject: Subject): string {
  if (!('grants' in subject)) return subject.role;
  const { subscribe, control } = subject.grants;
  return `${subject.role}\n${control}\n${subscribe.toSorted().join('\n')}\n`;
}

function patternsOf(text: string | null): string[] {
  const patterns = [...new Set((text ?? '>').split(','))].sort();
  if (patterns.length > MAX_PATTERNS) throw new AppError('invalid', `topics may list at most ${MAX_PATTERNS} patterns`);
  for (const pattern of patterns) {
    try {
      assertPattern(pattern);
    } catch (error) {
      if (!(error instanceof TopicError)) throw error;
      throw new AppError('invalid', `topics: ${error.message}`);
    }
  }
  return patterns;
}

function isOnce(value: string | null): boolean {
  if (value === null || value === '0' || value === 'false') return false;
  if (value === '1' || value === 'true' || value === '') return true;
  throw new AppError('invalid', 'once must be 1 or 0');
}
