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

/** Work that can fill a core and that no request waits for: beside anything else it would make that late. */
const BACKGROUND_ROLES: readonly ProcessRole[] = ['projector', 'webhook'];

/** Nobody waits for a process with these roles: it takes its time where that costs less, and others come first. */
export function isBackground(roles: ProcessRoles): boolean {
  return [...roles].every((role) => BACKGROUND_ROLES.includes(role));
}

/** Which roles a process does itself and which it leaves to its background process. */
export function divided(roles: ProcessRoles): { readonly own: ProcessRoles; readonly background: ProcessRoles } {
  const background = new Set(isBackground(roles) ? [] : BACKGROUND_ROLES.filter((role) => roles.has(role)));
  return { own: roles.difference(background), background };
}
