import { covers, matcher, overlaps } from '../bus/topic.ts';
import { AppError } from '../errors.ts';
import type { Grants, Role } from './principal.ts';

/**
 * Who may do what: the only place that says so. Routes, the WebSocket, streams and the bus socket ask here. What no line
 * lists is denied. Pure.
 */

/** Who asks. A `peer` is one of the bus socket, with what the configuration gives all of them. */
export type Subject =
  | { readonly role: Role }
  | { readonly role: 'account'; readonly grants: Grants }
  | { readonly role: 'peer'; readonly grants: Grants };

/** What can be done with an event. */
export type TopicAction = 'publish' | 'subscribe';

/** `controller`: a service account or a peer with the right to control. It is what it was besides. */
type Holder = Role | 'account' | 'peer' | 'controller';

interface Line {
  readonly family: string;
  readonly topics: readonly string[];
  readonly publish: readonly Holder[];
  readonly subscribe: readonly Holder[];
}

const PUBLISHERS: readonly Holder[] = ['admin', 'account', 'peer'];

/** The first line whose patterns match a topic decides. Accounts and peers need a pattern of their own besides. */
const LINES: readonly Line[] = [
  {
    // Stops a worker.
    family: 'control',
    topics: ['system.*.control'],
    publish: ['admin', 'controller'],
    subscribe: ['admin', 'controller'],
  },
  {
    family: 'activity',
    topics: [
      'attacker.>',
      'attribution.>',
      'campaign.>',
      'decky.>',
      'identity.>',
      'orchestrator.>',
      'system.*.health',
      'system.log',
      'topology.>',
    ],
    publish: PUBLISHERS,
    subscribe: ['admin', 'viewer', 'account', 'peer'],
  },
  {
    // What says something about secrets, bait or the plane itself; viewers of DECNET see none of these pages.
    family: 'confidential',
    topics: ['canary.>', 'credential.>', 'email.>', 'log.set_aside', 'smtp.>', 'system.>', 'ttp.>'],
    publish: PUBLISHERS,
    subscribe: ['admin', 'account', 'peer'],
  },
  {
    // Families that nobody has listed: DECNET's workers may have some that this project has not heard of.
    family: 'unlisted',
    topics: ['>'],
    publish: ['admin', 'peer'],
    subscribe: ['peer'],
  },
];

/** Which roles pass in front of routes: what is done there is about no topic, or is asked again for each one. */
const GATES = {
  /** Manages: users, accounts, topologies, deckies (contract §4.2). */
  admin: ['admin'],
  /** Reads them, and manages the own session. */
  viewer: ['admin', 'viewer'],
  /** Publishes events, as far as {@link mayUse} allows. */
  publish: ['admin', 'account'],
  /** Whoever is signed in: opens streams and sockets, and asks who it is. */
  anyone: ['admin', 'viewer', 'account'],
} as const satisfies Readonly<Record<string, readonly Subject['role'][]>>;

export type RoleGate = keyof typeof GATES;

/** The families of topics, in the order in which they are looked through. */
export const FAMILIES: readonly string[] = LINES.map(({ family }) => family);

const COMPILED = LINES.map((line) => ({ ...line, matches: matcher(line.topics) }));

/** @throws {AppError} `forbidden` when the role does not pass the gate */
export function assertRole({ role }: Pick<Subject, 'role'>, gate: RoleGate): void {
  const passes: readonly string[] = GATES[gate];
  if (!passes.includes(role)) throw new AppError('forbidden', 'Insufficient permissions');
}

/** Whether somebody may publish or be told events of a topic; to be asked about many topics. */
export function mayUse(subject: Subject, action: TopicAction): (topic: string) => boolean {
  const holders = holdersOf(subject);
  const lines = COMPILED.map((line) => ({ matches: line.matches, isHeld: includesAny(line[action], holders) }));
  const isListed = lines.every(({ isHeld }) => isHeld)
    ? () => true
    : (topic: string) => lines.find(({ matches }) => matches(topic))?.isHeld === true;
  if (!('grants' in subject)) return isListed;
  const isGranted = matcher(subject.grants[action]);
  return (topic) => isGranted(topic) && isListed(topic);
}

/** Whether somebody may use every topic that a pattern matches. */
export function mayUseAll(subject: Subject, action: TopicAction, pattern: string): boolean {
  const isGranted = !('grants' in subject) || subject.grants[action].some((granted) => covers(granted, pattern));
  return isGranted && linesOf(pattern).every((line) => includesAny(line[action], holdersOf(subject)));
}

/** Whether there is a topic among those of a pattern that such a subject could use at all, if the pattern were granted. */
export function mayUseAny(subject: Subject, action: TopicAction, pattern: string): boolean {
  return linesOf(pattern).some((line) => includesAny(line[action], holdersOf(subject)));
}

/** What somebody may do, as patterns, to be told. */
export function rightsOf(subject: Subject): Grants {
  if ('grants' in subject) return subject.grants;
  const patterns = (action: TopicAction) =>
    LINES.filter((line) => line[action].includes(subject.role)).flatMap(({ topics }) => topics);
  const controls = LINES.some(({ family, publish }) => family === 'control' && publish.includes(subject.role));
  return { publish: patterns('publish'), subscribe: patterns('subscribe'), control: controls };
}

/** Whether two see the same, so that what was opened by the one may go on for the other. */
export function haveSameRights(one: Subject, other: Subject): boolean {
  if (one.role !== other.role) return false;
  const grantsOf = (subject: Subject) => ('grants' in subject ? JSON.stringify(subject.grants) : '');
  return grantsOf(one) === grantsOf(other);
}

/** The lines that decide about a pattern's topics. */
function linesOf(pattern: string): Line[] {
  const lines: Line[] = [];
  for (const line of LINES) {
    if (!line.topics.some((topics) => overlaps(topics, pattern))) continue;
    lines.push(line);
    // Nothing is left for those below.
    if (line.topics.some((topics) => covers(topics, pattern))) break;
  }
  return lines;
}

function holdersOf(subject: Subject): readonly Holder[] {
  return 'grants' in subject && subject.grants.control ? [subject.role, 'controller'] : [subject.role];
}

function includesAny(listed: readonly Holder[], holders: readonly Holder[]): boolean {
  return holders.some((holder) => listed.includes(holder));
}
