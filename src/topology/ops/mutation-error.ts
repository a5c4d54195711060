/** What kind of refusal it is: the part of a failed mutation's reason before the colon (contract §5.6). */
export type RefusalKind = 'MutationError' | 'KeyError' | 'IntegrityError';

/** An operation that cannot be done to the topology as it is; the message says why. */
export class MutationError extends Error {
  constructor(message: string, kind: RefusalKind = 'MutationError') {
    super(message);
    this.name = kind;
  }
}
