import { ARCHETYPES } from '../../catalog/archetypes.ts';
import { KNOWN_SERVICES } from '../../catalog/services.ts';
import { LAN_POOL } from '../subnets.ts';
import type { Draft, DraftDecky, DraftLan, DraftMembership } from './create.ts';

/** What the generator is asked for (contract §5.9). */
export interface GeneratorRequest {
  /** Levels of LANs, the DMZ being the first. */
  readonly depth: number;
  /** LANs behind each LAN of the level above. */
  readonly branchingFactor: number;
  readonly deckiesPerLanMin: number;
  readonly deckiesPerLanMax: number;
  /** How likely the decky that leads into a LAN also forwards to it. */
  readonly bridgeForwardProbability: number;
  /** How likely a LAN has a second way, to a LAN that is not its neighbour. */
  readonly crossEdgeProbability: number;
  /** The services of every decky; empty leaves them to chance or to the archetype. */
  readonly servicesExplicit: readonly string[];
  /** One to three services by chance; false gives each decky those of its archetype. */
  readonly randomizeServices: boolean;
  /** The same seed gives the same topology, but for ids, networks and addresses. */
  readonly seed: number;
}

/** A /16 holds as many /24 networks: no bigger topology is generated. */
export const MAX_LANS = 256;
const MAX_RANDOM_SERVICES = 3;
const GATEWAY = 'dmz-gateway';

/** At least 0, less than 1. */
type Random = () => number;

/** How many LANs a tree of this shape has. */
export function lanCount({ depth, branchingFactor }: Pick<GeneratorRequest, 'depth' | 'branchingFactor'>): number {
  let count = 0;
  for (let level = 0; level < depth; level += 1) count += branchingFactor ** level;
  return count;
}

/**
 * A tree of LANs behind a DMZ. A gateway stands in the DMZ, and from every LAN a decky leads into each LAN behind it, so
 * that what comes out passes the checks of a deployment.
 */
export function generateDraft(request: GeneratorRequest): Draft {
  const random = seededRandom(request.seed);
  const tree = growTree(request);
  const deckies: Growing[] = [
    { name: GATEWAY, archetype: 'deaddeck', services: ['ssh'], memberships: [membership('dmz', false, true)] },
  ];
  const homed = new Map<string, Growing[]>([['dmz', [...deckies]]]);
  for (const { name } of tree) {
    const grown = growDeckies(request, name, random);
    deckies.push(...grown);
    homed.set(name, [...(homed.get(name) ?? []), ...grown]);
  }
  for (const { name, parent } of tree) {
    if (parent === undefined) continue;
    const bridge = pick(random, homed.get(parent) ?? []) ?? addRouter(parent, deckies, homed);
    bridge.memberships.push(membership(name, true, random() < request.bridgeForwardProbability));
  }
  for (const { name, parent } of tree) {
    if (parent === undefined || random() >= request.crossEdgeProbability) continue;
    const decky = pick(random, homed.get(name) ?? []);
    const distant = tree.filter((lan) => lan.name !== parent && lan.parent !== name);
    const target = pick(
      random,
      distant.filter((lan) => !decky?.memberships.some((known) => known.lan === lan.name)),
    );
    if (target !== undefined) decky?.memberships.push(membership(target.name, true, false));
  }
  return { pool: LAN_POOL, lans: tree.map(placeLan), deckies: deckies.map(placeDecky) };
}

interface TreeLan {
  readonly name: string;
  readonly parent: string | undefined;
  readonly level: number;
  /** Its place within its level. */
  readonly column: number;
}

type Growing = Pick<DraftDecky, 'name' | 'archetype' | 'services'> & { readonly memberships: DraftMembership[] };

/** The LANs level by level: the DMZ, then `lan-1`, `lan-2`, … */
function growTree({ depth, branchingFactor }: GeneratorRequest): TreeLan[] {
  const tree: TreeLan[] = [{ name: 'dmz', parent: undefined, level: 0, column: 0 }];
  for (let level = 1; level < depth; level += 1) {
    const parents = tree.filter((lan) => lan.level === level - 1);
    for (const [index, parent] of parents.entries()) {
      for (let branch = 0; branch < branchingFactor; branch += 1) {
        const column = index * branchingFactor + branch;
        tree.push({ name: `lan-${tree.length}`, parent: parent.name, level, column });
      }
    }
  }
  return tree;
}

function growDeckies(request: GeneratorRequest, lan: string, random: Random): Growing[] {
  const { deckiesPerLanMin: min, deckiesPerLanMax: max } = request;
  const count = min + below(random, max - min + 1);
  return Array.from({ length: count }, (_, index) => {
    const archetype = ARCHETYPES[below(random, ARCHETYPES.length)];
    return {
      name: `${lan}-decky-${index + 1}`,
      archetype: archetype?.slug ?? 'deaddeck',
      services: servicesOf(request, archetype?.services ?? [], random),
      memberships: [membership(lan, false, false)],
    };
  });
}

function servicesOf(request: GeneratorRequest, ofArchetype: readonly string[], random: Random): readonly string[] {
  if (request.servicesExplicit.length > 0) return request.servicesExplicit;
  if (!request.randomizeServices) return ofArchetype;
  const count = 1 + below(random, MAX_RANDOM_SERVICES);
  const chosen = new Set<string>();
  while (chosen.size < count) chosen.add(KNOWN_SERVICES[below(random, KNOWN_SERVICES.length)] ?? 'ssh');
  return [...chosen].sort();
}

/** A LAN without deckies still needs one that leads on to the LANs behind it. */
function addRouter(lan: string, deckies: Growing[], homed: Map<string, Growing[]>): Growing {
  const router: Growing = {
    name: `${lan}-router`,
    archetype: 'network-device',
    services: ['ssh'],
    memberships: [membership(lan, false, false)],
  };
  deckies.push(router);
  homed.set(lan, [router]);
  return router;
}

function membership(lan: string, isBridge: boolean, forwardsL3: boolean): DraftMembership {
  return { lan, isBridge, forwardsL3 };
}

function placeLan({ name, level, column }: TreeLan): DraftLan {
  return { name, isDmz: level === 0, x: 40 + column * 340, y: 40 + level * 280 };
}

function placeDecky(decky: Growing, index: number): DraftDecky {
  return { ...decky, x: 12 + (index % 2) * 140, y: 40 + Math.floor(index / 2) * 82 };
}

/** Numbers that depend on the seed and on how many were drawn before, on nothing else. */
function seededRandom(seed: number): Random {
  const key = BigInt.asUintN(64, BigInt(seed));
  let drawn = 0;
  return () => {
    drawn += 1;
    // The upper 53 bits: what a double holds exactly.
    return Number(Bun.hash.wyhash(`${drawn}`, key) >> 11n) / 2 ** 53;
  };
}

const below = (random: Random, limit: number) => Math.floor(random() * limit);

function pick<T>(random: Random, values: readonly T[]): T | undefined {
  return values[below(random, values.length)];
}
