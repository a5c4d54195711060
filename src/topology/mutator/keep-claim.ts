import { Renewal } from '../../bus/renewal.ts';
import { describeError } from '../../errors.ts';
import { type Claim, renewClaim } from './claim.ts';
import type { MutatorParts } from './parts.ts';

/**
 * Renews a claim for as long as the work takes. Whether it is still held, the work has to ask the database: before it changes
 * something, and when it finishes.
 */
export async function keepClaim(
  { db, logger, now, leaseMs }: MutatorParts,
  claim: Claim,
  work: () => Promise<void>,
): Promise<void> {
  const renewal = new Renewal({
    leaseMs,
    renew: () => renewClaim(db, claim, now() + leaseMs),
    onError: (error) =>
      logger.warn('a claim could not be renewed', { mutation: claim.mutationId, error: describeError(error) }),
  });
  try {
    await work();
  } finally {
    await renewal.stop();
  }
}
