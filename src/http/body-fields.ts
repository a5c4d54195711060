import { isJsonObject, type Json, type JsonObject } from '../bus/event.ts';
import { isStorable } from '../db/storable.ts';
import { AppError } from '../errors.ts';
import { laxInteger } from './lax-integer.ts';

/**
 * @param body parsed JSON; `undefined` when there was none
 * @throws {AppError} `bad_request` without a body, `invalid` when it is not an object
 */
export function bodyObject(body: unknown): JsonObject {
  if (body === undefined) throw new AppError('bad_request', 'a JSON body is required');
  if (!isJsonObject(body)) throw new AppError('invalid', 'the body must be a JSON object');
  return body;
}

interface Bounds {
  readonly min: number;
  readonly max: number;
}

const NUMBER_TEXT = /^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\s*$/i;
const TRUE_WORDS = ['true', 't', 'yes', 'y', 'on', '1'];
const FALSE_WORDS = ['false', 'f', 'no', 'n', 'off', '0'];

/**
 * Reads the fields of a JSON body by the rules of contract §5.3: each method returns the value, or a stand-in with the
 * problem noted; {@link check} throws once everything has been read, because one structural problem among others makes
 * the answer a 400. Fields that nobody reads are ignored.
 */
export class BodyFields {
  readonly #fields: JsonObject;
  readonly #structural: string[] = [];
  readonly #invalid: string[] = [];

  /**
   * @param body parsed JSON; `undefined` when there was none
   * @throws {AppError} `bad_request` without a body, `invalid` when it is not an object
   */
  constructor(body: unknown) {
    this.#fields = bodyObject(body);
  }

  /** @throws {AppError} `bad_request` when any problem was structural, `invalid` when there were others */
  check(): void {
    const [structural] = this.#structural;
    if (structural !== undefined) throw new AppError('bad_request', structural);
    const [invalid] = this.#invalid;
    if (invalid !== undefined) throw new AppError('invalid', invalid);
  }

  has(name: string): boolean {
    return this.#fields[name] !== undefined;
  }

  /** Notes a problem that the methods here do not know. */
  refuse(problem: string): void {
    this.#invalid.push(problem);
  }

  text(name: string, { min, max }: Bounds): string {
    const value = this.#fields[name];
    if (typeof value !== 'string') return this.#malformed(`${name} must be a string`, '');
    if (value.length < min) return this.#malformed(`${name} must have at least ${min} characters`, '');
    if (value.length > max) return this.#wrong(`${name} must have at most ${max} characters`, '');
    return isStorable(value) ? value : this.#wrong(`${name} must not hold NUL or half of a surrogate pair`, '');
  }

  textOrNull(name: string, bounds: Bounds): string | null {
    return this.#isAbsent(name) ? null : this.text(name, bounds);
  }

  oneOf<T extends string>(name: string, values: readonly [T, ...T[]]): T {
    const [first] = values;
    if (!this.has(name)) return first;
    const value = values.find((known) => known === this.#fields[name]);
    return value ?? this.#wrong(`${name} must be one of ${values.join(', ')}`, first);
  }

  integer(name: string, { min, max }: Bounds): number {
    if (!this.has(name)) return this.#malformed(`${name} is required`, min);
    const value = laxInteger(this.#fields[name]);
    if (value === undefined) return this.#wrong(`${name} must be an integer`, min);
    return min <= value && value <= max ? value : this.#wrong(`${name} must be from ${min} to ${max}`, min);
  }

  integerOr(name: string, fallback: number, bounds: Bounds): number {
    return this.has(name) ? this.integer(name, bounds) : fallback;
  }

  integerOrNull(name: string): number | null {
    const bounds = { min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER };
    return this.#isAbsent(name) ? null : this.integer(name, bounds);
  }

  /** The version that the topology must still have; any integer, one that no topology has as well. */
  expectedVersion(): number | undefined {
    if (this.#isAbsent('expected_version')) return undefined;
    const version = laxInteger(this.#fields.expected_version);
    return version ?? this.#wrong('expected_version must be an integer', undefined);
  }

  /** A list of integers. */
  integers(name: string, { min, max }: Bounds): readonly number[] {
    const value = this.#fields[name];
    if (value === undefined) return this.#malformed(`${name} is required`, []);
    if (!Array.isArray(value)) return this.#wrong(`${name} must be a list`, []);
    const numbers = value.map(laxInteger).filter((number) => number !== undefined && min <= number && number <= max);
    if (numbers.length < value.length) return this.#wrong(`${name} must hold integers from ${min} to ${max}`, []);
    return numbers.filter((number) => number !== undefined);
  }

  numberOr(name: string, fallback: number, { min, max }: Bounds): number {
    if (!this.has(name)) return fallback;
    const value = this.#number(name);
    return min <= value && value <= max ? value : this.#wrong(`${name} must be from ${min} to ${max}`, fallback);
  }

  numberOrNull(name: string): number | null {
    return this.#isAbsent(name) ? null : this.#number(name);
  }

  booleanOr<T>(name: string, fallback: T): boolean | T {
    const value = this.#fields[name];
    if (value === undefined) return fallback;
    const word = `${value}`.toLowerCase();
    if (['string', 'number', 'boolean'].includes(typeof value)) {
      if (TRUE_WORDS.includes(word)) return true;
      if (FALSE_WORDS.includes(word)) return false;
    }
    return this.#wrong(`${name} must be true or false`, fallback);
  }

  /** A list of strings. */
  texts(name: string): readonly string[] {
    const value = this.#fields[name];
    if (!Array.isArray(value)) return this.#wrong(`${name} must be a list`, []);
    const texts = value.filter((item: Json): item is string => typeof item === 'string');
    if (texts.length < value.length) return this.#malformed(`${name} must hold strings only`, []);
    return texts.every(isStorable) ? texts : this.#wrong(`${name} must not hold NUL or half of a surrogate pair`, []);
  }

  textsOrNull(name: string): readonly string[] | null {
    return this.#isAbsent(name) ? null : this.texts(name);
  }

  /** A JSON object; an absent one and null are empty. */
  object(name: string): JsonObject {
    const value = this.#fields[name];
    if (value === undefined || value === null) return {};
    return isJsonObject(value) ? value : this.#wrong(`${name} must be a JSON object`, {});
  }

  #isAbsent(name: string): boolean {
    return !this.has(name) || this.#fields[name] === null;
  }

  #number(name: string): number {
    const value = this.#fields[name];
    const number =
      typeof value === 'boolean' || (typeof value === 'string' && NUMBER_TEXT.test(value)) ? +value : value;
    if (typeof number === 'number' && Number.isFinite(number)) return number;
    return this.#wrong(`${name} must be a number`, 0);
  }

  #malformed<T>(problem: string, standIn: T): T {
    this.#structural.push(problem);
    return standIn;
  }

  #wrong<T>(problem: string, standIn: T): T {
    this.#invalid.push(problem);
    return standIn;
  }
}
