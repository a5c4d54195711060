import { DMZ_POOL } from '../subnets.ts';
import type { Draft } from './create.ts';

/** What `POST /topologies/blank` starts with (contract §5.9): a DMZ and the gateway into it. */
export const BLANK_DRAFT: Draft = {
  pool: DMZ_POOL,
  lans: [{ name: 'dmz', isDmz: true, x: 40, y: 40 }],
  deckies: [
    {
      name: 'dmz-gateway',
      archetype: 'deaddeck',
      services: ['ssh'],
      memberships: [{ lan: 'dmz', isBridge: true, forwardsL3: true }],
      x: 40,
      y: 40,
    },
  ],
};
