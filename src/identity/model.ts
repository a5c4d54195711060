import { shownFingerprint } from '../attackers/fingerprints.ts';
import type { Json } from '../bus/event.ts';
import type { AttackerRow } from '../db/schema.ts';

/** `AttackerRow` of contract §6.3: the columns, with the four lists decoded. (`IdentityRow` is a row as it is.) */
export function attackerOf(row: AttackerRow) {
  return {
    ...row,
    is_traversal: row.is_traversal === 1,
    services: parsed(row.services),
    deckies: parsed(row.deckies),
    fingerprints: listIn(row.fingerprints).map((found) => shownFingerprint(found, row.ip)),
    commands: parsed(row.commands),
  };
}

function parsed(text: string): Json {
  return JSON.parse(text);
}

function listIn(text: string): readonly Json[] {
  const value = parsed(text);
  return Array.isArray(value) ? value : [];
}
