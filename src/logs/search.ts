import type { LogRow } from '../db/schema.ts';

/** What a search asks of lines: all of it holds (contract §3.6). */
export interface LogSearch {
  /** Columns and the values that they have. */
  readonly exact: readonly { readonly column: ExactColumn; readonly value: string }[];
  /** Members of `fields` and the values that they have, as text. */
  readonly fields: readonly { readonly name: string; readonly value: string }[];
  /** Texts that the line, its decky, its service or its address contains; ASCII letters in either case. */
  readonly words: readonly string[];
}

export type ExactColumn = 'decky' | 'service' | 'event_type' | 'attacker_ip';

/** When lines were written, both ends included; ISO times. */
export interface TimeRange {
  readonly start?: string;
  readonly end?: string;
}

/** Which lines are asked for. */
export interface LogQuery {
  readonly search: LogSearch;
  readonly range: TimeRange;
}

const COLUMNS: Readonly<Record<string, ExactColumn>> = {
  decky: 'decky',
  service: 'service',
  event: 'event_type',
  attacker: 'attacker_ip',
  'attacker-ip': 'attacker_ip',
  attacker_ip: 'attacker_ip',
};

/** Values with which pages say that they filter nothing (contract P0). */
const NO_FILTER = new Set(['', 'null', 'NULL', 'undefined']);
/** Tokens of a search; more than anybody types. */
const MAX_TOKENS = 16;

/** @param text tokens as in a shell: `service:ssh "failed password" username:root` */
export function parseSearch(text: string | undefined): LogSearch {
  const exact: LogSearch['exact'][number][] = [];
  const fields: LogSearch['fields'][number][] = [];
  const words: string[] = [];
  for (const token of NO_FILTER.has(text ?? '') ? [] : tokensOf(text ?? '')) {
    const colon = token.indexOf(':');
    const [name, value] = [token.slice(0, colon), token.slice(colon + 1)];
    const column = Object.hasOwn(COLUMNS, name) ? COLUMNS[name] : undefined;
    if (colon <= 0 || value === '') words.push(token);
    else if (column !== undefined) exact.push({ column, value });
    else fields.push({ name, value });
  }
  return { exact, fields, words };
}

/** True when nothing is asked. */
export function isEmptySearch({ exact, fields, words }: LogSearch): boolean {
  return exact.length + fields.length + words.length === 0;
}

/** True for all times. */
export function isOpenRange({ start, end }: TimeRange): boolean {
  return start === undefined && end === undefined;
}

/** The column of a search for one value of one column alone. */
export function onlyColumn({ exact, fields, words }: LogSearch): LogSearch['exact'][number] | undefined {
  return exact.length === 1 && fields.length + words.length === 0 ? exact[0] : undefined;
}

/** Quotes hold a token together; a backslash takes the next character as it is. A quote without its end goes to the end. */
function tokensOf(text: string): string[] {
  const tokens: string[] = [];
  let [token, quote, isOpen] = ['', '', false];
  for (let index = 0; index < text.length; index += 1) {
    const char = text.charAt(index);
    if (char === '\\' && quote !== "'" && index + 1 < text.length) {
      index += 1;
      token += text.charAt(index);
      isOpen = true;
    } else if (quote !== '') {
      if (char === quote) quote = '';
      else token += char;
    } else if (char === '"' || char === "'") {
      quote = char;
      isOpen = true;
    } else if (/\s/.test(char)) {
      if (isOpen && token !== '') tokens.push(token);
      [token, isOpen] = ['', false];
    } else {
      token += char;
      isOpen = true;
    }
  }
  if (token !== '') tokens.push(token);
  return tokens.slice(0, MAX_TOKENS);
}

/** Whether a line is what a search asks for; the same as the database says of its row. */
export function isFound(row: LogRow, { exact, fields, words }: LogSearch, { start, end }: TimeRange): boolean {
  if (start !== undefined && row.timestamp < start) return false;
  if (end !== undefined && row.timestamp > end) return false;
  if (exact.some(({ column, value }) => row[column] !== value)) return false;
  if (fields.length > 0) {
    const members: unknown = JSON.parse(row.fields);
    if (fields.some(({ name, value }) => textOfMember(members, name) !== value)) return false;
  }
  const texts = [row.raw_line, row.decky, row.service, row.attacker_ip].map(lowered);
  return words.map(lowered).every((word) => texts.some((text) => text.includes(word)));
}

/** ASCII letters only, as SQLite's LIKE does. */
function lowered(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

function textOfMember(members: unknown, name: string): string | undefined {
  if (typeof members !== 'object' || members === null) return undefined;
  const value: unknown = Reflect.get(members, name);
  if (value === undefined || value === null) return undefined;
  return typeof value === 'string' ? value : JSON.stringify(value);
}
