import { isJsonObject, type JsonObject } from '../bus/event.ts';
import { AppError } from '../errors.ts';
import { laxInteger } from '../http/lax-integer.ts';
import { MUTATION_OPS, type MutationOp } from './model.ts';

/** What `POST /topologies/{id}/mutations` asks for. */
export interface MutationRequest {
  readonly op: MutationOp;
  /** Not checked before the mutator applies it (contract §5.4). */
  readonly payload: JsonObject;
  /** The version that the topology must still have; `undefined` asks for no check and leaves the version alone. */
  readonly expectedVersion: number | undefined;
}

/**
 * Reads the body of a mutation request. Written out instead of declared as a schema: a schema library takes an array for
 * a record, and the integers of contract §5.3 rule 4 (`"2"`, `true`) are Pydantic's, not JSON Schema's.
 * @param body parsed JSON; `undefined` when there was none
 * @throws {AppError} `bad_request` when `op` or the body is missing, `invalid` for everything else
 */
export function parseMutationRequest(body: unknown): MutationRequest {
  if (body === undefined) throw new AppError('bad_request', 'a JSON body is required');
  if (!isJsonObject(body)) throw new AppError('invalid', 'the body must be a JSON object');
  if (body.op === undefined) throw new AppError('bad_request', 'op is required');
  const op = MUTATION_OPS.find((known) => known === body.op);
  if (op === undefined) throw new AppError('invalid', `op must be one of ${MUTATION_OPS.join(', ')}`);
  const payload = body.payload === undefined ? {} : body.payload;
  if (!isJsonObject(payload)) throw new AppError('invalid', 'payload must be a JSON object');
  return { op, payload, expectedVersion: expectedVersionOf(body.expected_version) };
}

/**
 * The version that a topology must still have for a change to be made; `undefined` when the caller names none.
 * @throws {AppError} `invalid` when it is no integer
 */
export function expectedVersionOf(value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  const version = laxInteger(value);
  if (version === undefined) throw new AppError('invalid', 'expected_version must be an integer');
  return version;
}
