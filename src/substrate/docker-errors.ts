import { isJsonObject } from '../bus/event.ts';
import { describeError } from '../errors.ts';
import { ClaimLost } from './substrate.ts';

/** What the engine refused or did not answer; the message says what was being done and why it failed. */
export class DockerError extends Error {
  constructor(doing: string, reason: string, cause: unknown) {
    super(`docker could not ${doing}: ${reason}`, { cause });
    this.name = 'DockerError';
  }
}

/** The HTTP status of the engine's answer; `undefined` when it gave none. */
export function statusOf(error: unknown): number | undefined {
  const status = isJsonObject(error) ? error.statusCode : undefined;
  return typeof status === 'number' ? status : undefined;
}

/**
 * Does something with the engine, so that what fails says it in words.
 * @throws {DockerError}
 * @throws {ClaimLost} when the claim ended meanwhile: that is no failure of the engine
 */
export async function telling<T>(doing: string, socketPath: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof ClaimLost) throw error;
    throw new DockerError(doing, reasonOf(error, socketPath), error);
  }
}

/** Succeeds also when the engine answers with one of these statuses: what was asked for is so already. */
export async function unless(statuses: readonly number[], asked: Promise<unknown>): Promise<void> {
  try {
    await asked;
  } catch (error) {
    const status = statusOf(error);
    if (status === undefined || !statuses.includes(status)) throw error;
  }
}

/** The engine's own message where there is one (Docker Engine API, `ErrorResponse`). */
function reasonOf(error: unknown, socketPath: string): string {
  if (!isJsonObject(error)) return String(error);
  if (isJsonObject(error.json) && typeof error.json.message === 'string') return error.json.message;
  if (typeof error.code === 'string') return `the engine does not answer on ${socketPath} (${error.code})`;
  return describeError(error);
}
