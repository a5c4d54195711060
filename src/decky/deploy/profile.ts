import { ARCHETYPES } from '../../catalog/archetypes.ts';
import { KNOWN_SERVICES } from '../../catalog/services.ts';

/** What a decky looks like from outside and what it is built from, by the archetype that it poses as. */
export interface Profile {
  readonly hostname: string;
  readonly distro: string;
  readonly base_image: string;
  readonly build_base: string;
  readonly nmap_os: string;
}

const IMAGES: Readonly<Record<string, string>> = {
  alpine: 'alpine:3.20',
  debian: 'debian:bookworm-slim',
  ubuntu: 'ubuntu:24.04',
};
const DISTRO = 'debian';

/** @param archetype its slug; a decky of none is a plain Linux */
export function profileOf(name: string, archetype: string): Profile {
  const known = ARCHETYPES.find(({ slug }) => slug === archetype);
  const distro = known?.preferred_distros[0] ?? DISTRO;
  const image = IMAGES[distro] ?? '';
  return { hostname: name, distro, base_image: image, build_base: image, nmap_os: known?.nmap_os ?? 'linux' };
}

/** What a rotation may give it: what suits its archetype, or anything. */
export function poolOf(archetype: string, services: readonly string[]): readonly string[] {
  const suitable = ARCHETYPES.find(({ slug }) => slug === archetype)?.services ?? KNOWN_SERVICES;
  return [...new Set([...services, ...suitable])].sort();
}
