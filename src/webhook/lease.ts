/**
 * The node that dispatches is the one that delivers, so that what was written down is sent at once. It makes for peace, not for correctness: each
 * commit of the dispatcher asks whether its position still holds, and a delivery that two nodes make is made at least once.
 */
export const WEBHOOK_LEASE = 'webhook';
