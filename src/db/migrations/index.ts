import type { Migration } from 'kysely/migration';
import type { Engine } from '../database.ts';
import { users } from './001-users.ts';
import { topologies } from './002-topologies.ts';
import { identities } from './003-identities.ts';
import { outbox } from './004-outbox.ts';
import { mutationClaims } from './005-mutation-claims.ts';
import { deckyFleet } from './006-decky-fleet.ts';
import { setAside } from './007-set-aside.ts';
import { leaseTerms } from './008-lease-terms.ts';
import { logWitness } from './009-log-witness.ts';
import { substrateFences } from './010-substrate-fences.ts';
import { serviceAccounts } from './011-service-accounts.ts';
import { projections } from './012-projections.ts';
import { logs } from './013-logs.ts';
import { attackerModels } from './014-attackers.ts';
import { orchestrator } from './015-orchestrator.ts';
import { fleetRows } from './016-fleet-rows.ts';
import { settings } from './017-settings.ts';
import { tarpits } from './018-tarpits.ts';
import { retention } from './019-retention.ts';
import { webhooks } from './020-webhooks.ts';
import { pages } from './021-pages.ts';
import { logFilters } from './022-log-filters.ts';
import { webhookBounds } from './023-webhook-bounds.ts';
import { boundedReadModels } from './024-bounded-read-models.ts';
import { logPairs } from './025-log-pairs.ts';
import { addressText } from './026-address-text.ts';
import { purges } from './027-purges.ts';

/** All migrations by name; they run in the order of their names. Never edit one that has been released. */
export function migrations(engine: Engine): Record<string, Migration> {
  return {
    '001-users': users,
    '002-topologies': topologies,
    '003-identities': identities,
    '004-outbox': outbox(engine),
    '005-mutation-claims': mutationClaims,
    '006-decky-fleet': deckyFleet,
    '007-set-aside': setAside(engine),
    '008-lease-terms': leaseTerms,
    '009-log-witness': logWitness(engine),
    '010-substrate-fences': substrateFences,
    '011-service-accounts': serviceAccounts,
    '012-projections': projections(engine),
    '013-logs': logs(engine),
    '014-attackers': attackerModels(engine),
    '015-orchestrator': orchestrator,
    '016-fleet-rows': fleetRows,
    '017-settings': settings,
    '018-tarpits': tarpits,
    '019-retention': retention,
    '020-webhooks': webhooks(engine),
    '021-pages': pages(engine),
    '022-log-filters': logFilters(engine),
    '023-webhook-bounds': webhookBounds,
    '024-bounded-read-models': boundedReadModels(engine),
    '025-log-pairs': logPairs(engine),
    '026-address-text': addressText(engine),
    '027-purges': purges,
  };
}
