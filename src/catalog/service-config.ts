import type { Json, JsonObject } from '../bus/event.ts';
import { AppError } from '../errors.ts';
import type { ServiceField } from './service-fields.ts';
import type { Service } from './services.ts';

const TRUE_WORDS = ['true', '1', 'yes', 'on'];
const FALSE_WORDS = ['false', '0', 'no', 'off'];
const INTEGER_TEXT = /^\s*[+-]?\d+(?:_\d+)*\s*$/;
const BASE64 = 'b64:';
const MAX_PORT = 65_535;

/**
 * A configuration as its service takes it (contract P2.3): each value in the form of its field, without keys that the
 * service does not know and without those that hold nothing.
 * @param lists `json`, or `text` where a list may come as comma-separated text, as in an INI file
 * @throws {AppError} `bad_request` naming the first key whose value cannot be taken
 */
export function validConfig({ fields }: Service, config: JsonObject, lists: 'json' | 'text' = 'json'): JsonObject {
  const valid: [string, Json][] = [];
  for (const field of fields) {
    const value = config[field.key];
    if (value === undefined || value === null || value === '') continue;
    valid.push([field.key, READERS[field.type](field, lists === 'text' ? listed(field, value) : value)]);
  }
  return Object.fromEntries(valid);
}

type Reader = (field: ServiceField, value: Json) => Json;

const READERS: Readonly<Record<ServiceField['type'], Reader>> = {
  string: (_, value) => textOf(value),
  password: (_, value) => textOf(value),
  textarea: (field, value) => {
    const text = textOf(value);
    return text.startsWith(BASE64) ? decoded(field, text.slice(BASE64.length)) : text;
  },
  int: (field, value) => {
    const number = integerOf(value);
    if (number === undefined) throw refused(field, 'must be a whole number');
    if (/(?:^|_)port$/.test(field.key) && (number < 0 || number > MAX_PORT)) {
      throw refused(field, `must be a port from 0 to ${MAX_PORT}`);
    }
    return number;
  },
  bool: (field, value) => {
    if (typeof value === 'boolean') return value;
    const word = typeof value === 'string' ? value.toLowerCase() : '';
    if (TRUE_WORDS.includes(word)) return true;
    if (FALSE_WORDS.includes(word)) return false;
    throw refused(field, 'must be true or false');
  },
  enum: (field, value) => member(field, value),
  multi_enum: (field, value) => {
    if (!Array.isArray(value) || value.length === 0) throw refused(field, 'must be a list of one or more');
    return [...new Set(value.map((item: Json) => member(field, item)))];
  },
};

function member(field: ServiceField, value: Json): string {
  const text = textOf(value);
  if (field.enum?.includes(text)) return text;
  throw refused(field, `must be one of ${field.enum?.join(', ')}`);
}

function integerOf(value: Json): number | undefined {
  if (typeof value === 'boolean') return Number(value);
  const isText = typeof value === 'string' && INTEGER_TEXT.test(value);
  const number = isText ? Number(value.replaceAll('_', '')) : value;
  const whole = typeof number === 'number' ? Math.trunc(number) : Number.NaN;
  return Number.isSafeInteger(whole) ? whole : undefined;
}

function decoded(field: ServiceField, base64: string): string {
  const bytes = Buffer.from(base64, 'base64');
  // Buffer passes over what is no Base64 (RFC 4648 §4): the way back shows it.
  if (bytes.toString('base64').replaceAll('=', '') !== base64.replaceAll('=', '')) {
    throw refused(field, `must be Base64 after ${BASE64}`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw refused(field, `must be UTF-8 in Base64 after ${BASE64}`);
  }
}

const listed = ({ type }: ServiceField, value: Json): Json =>
  type === 'multi_enum' && typeof value === 'string' ? value.split(',').map((item) => item.trim()) : value;

const textOf = (value: Json): string => (typeof value === 'string' ? value : JSON.stringify(value));

/** The value is not repeated: it may be a password. */
const refused = ({ key }: ServiceField, problem: string) => new AppError('bad_request', `${key} ${problem}`);

/** The configurations of those services only that are still there: others must not be configured (contract §5.6). */
export function configsOfServices(configs: JsonObject, services: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(configs).filter(([service]) => services.includes(service)));
}
