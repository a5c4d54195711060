/**
 * What a process can do. `ROLES=` starts a subset; several processes may have the same role, and all of them together should
 * have each.
 */
export const PROCESS_ROLES = [
  /** HTTP, streams and WebSockets, and the page. */
  'api',
  /** DECNET's bus socket, where `DECNET_BUS_SOCKET` names one. */
  'bus-socket',
  /** Publishes what was committed. */
  'relay',
  /** Destroys the groups of dead nodes, trims the log. */
  'housekeeper',
  /** Applies mutations of topologies. */
  'mutator',
  /** Gives deckies of the fleet other services. */
  'rotator',
  /** Deploys topologies and tears them down. */
  'lifecycle',
  /** Removes from the substrate what no row explains. */
  'reconciler',
  /** Writes the read models: logs, attackers, campaigns, what the orchestrator did, heartbeats. */
  'projector',
  /** Dispatches events to webhooks, and delivers them. */
  'webhook',
] as const;

export type ProcessRole = (typeof PROCESS_ROLES)[number];

export type ProcessRoles = ReadonlySet<ProcessRole>;
