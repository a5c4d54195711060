import { isJsonObject, type Json, type JsonObject } from '../../bus/event.ts';
import { topics } from '../../bus/topic.ts';
import { isStorable } from '../../db/storable.ts';
import { describeError } from '../../errors.ts';
import { MutationError } from './mutation-error.ts';

/**
 * Readers of an operation's payload, which nothing has checked before (contract §5.4). Null counts as absent in what may
 * be absent; every reader throws {@link MutationError} for a value of another type.
 */

/** @throws {MutationError} of kind `KeyError` when the key is missing */
export function requiredText(payload: JsonObject, key: string): string {
  const value = payload[key];
  if (value === undefined) throw new MutationError(`'${key}'`, 'KeyError');
  return textIn(value, key);
}

/**
 * A decky's name, which is a token of its topics.
 * @throws {MutationError}
 */
export function requiredName(payload: JsonObject, key: string): string {
  const name = requiredText(payload, key);
  try {
    topics.decky(name, 'state');
  } catch (error) {
    throw new MutationError(describeError(error));
  }
  return name;
}

export function optionalText(payload: JsonObject, key: string): string | undefined {
  return optional(payload, key, textIn);
}

export function optionalNumber(payload: JsonObject, key: string): number | undefined {
  return optional(payload, key, (value) => {
    if (typeof value !== 'number') throw new MutationError(`'${key}' must be a number`);
    return value;
  });
}

export function optionalFlag(payload: JsonObject, key: string): boolean | undefined {
  return optional(payload, key, (value) => {
    if (typeof value !== 'boolean') throw new MutationError(`'${key}' must be true or false`);
    return value;
  });
}

export function optionalObject(payload: JsonObject, key: string): JsonObject | undefined {
  return optional(payload, key, (value) => {
    if (!isJsonObject(value)) throw new MutationError(`'${key}' must be an object`);
    return value;
  });
}

/** A service named twice is there once. */
export function optionalServices(payload: JsonObject): readonly string[] | undefined {
  return optional(payload, 'services', (value) => {
    const items: readonly Json[] = Array.isArray(value) ? value : [null];
    const services = items.filter((item) => typeof item === 'string');
    if (services.length < items.length) throw new MutationError("'services' must be a list of service names");
    return [...new Set(services)];
  });
}

function optional<T>(payload: JsonObject, key: string, read: (value: Json, key: string) => T): T | undefined {
  const value = payload[key];
  return value === undefined || value === null ? undefined : read(value, key);
}

function textIn(value: Json, key: string): string {
  if (typeof value !== 'string' || value === '') throw new MutationError(`'${key}' must be a text that is not empty`);
  if (!isStorable(value)) throw new MutationError(`'${key}' must not hold NUL or half of a surrogate pair`);
  return value;
}
