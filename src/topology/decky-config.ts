import { isJsonObject, type Json, type JsonObject } from '../bus/event.ts';
import { configsOfServices } from '../catalog/service-config.ts';
import type { DeckyRow, LanRow } from '../db/schema.ts';

/** Where a decky answers: LAN name → address, its home first. */
export type Addresses = Readonly<Record<string, string>>;

/** The stored configuration of a decky; empty where there is none. */
export function configOf({ decky_config }: Pick<DeckyRow, 'decky_config'>): JsonObject {
  const stored: Json = JSON.parse(decky_config ?? '{}');
  return isJsonObject(stored) ? stored : {};
}

/** Reads `ips_by_lan` of a configuration; entries that are no strings are left out. */
export function addressesIn(config: JsonObject): Addresses {
  const stored = isJsonObject(config.ips_by_lan) ? config.ips_by_lan : {};
  return Object.fromEntries(
    Object.entries(stored).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

/** A configuration without that of services which the decky does not have, as far as it has any. */
export function withConfigsOf(config: JsonObject, services: readonly string[]): JsonObject {
  if (!isJsonObject(config.service_config)) return config;
  return { ...config, service_config: configsOfServices(config.service_config, services) };
}

export function servicesOf({ services }: Pick<DeckyRow, 'services'>): readonly string[] {
  const stored: Json = JSON.parse(services);
  return Array.isArray(stored) ? stored.filter((service: Json): service is string => typeof service === 'string') : [];
}

/** Every address that the deckies have in a LAN. */
export function takenAddresses(deckies: readonly DeckyRow[], lan: Pick<LanRow, 'name'>): string[] {
  return deckies.map((decky) => addressesIn(configOf(decky))[lan.name]).filter((ip) => ip !== undefined);
}

/** The columns that say where a decky is, for these addresses. */
export function placedAt(config: JsonObject, addresses: Addresses) {
  const [home] = Object.values(addresses);
  return { decky_config: JSON.stringify({ ...config, ips_by_lan: addresses }), ip: home ?? null };
}

/** Addresses without those in a LAN, or with that LAN under another name: the order, and so the home, stays. */
export function renameLanIn(addresses: Addresses, lan: string, newName: string | undefined): Addresses {
  const entries = Object.entries(addresses).flatMap(([name, ip]): [string, string][] => {
    if (name !== lan) return [[name, ip]];
    return newName === undefined ? [] : [[newName, ip]];
  });
  return Object.fromEntries(entries);
}
