// Epoch and offset are for people; what comes behind them is for the server.
const PARTS = /^([^.]+\.[^.]+)(.*)$/;

/** `<epoch>.<offset>` of an id: what a person wants to see of it. */
export function placeOf(id: string): string {
  return PARTS.exec(id)?.[1] ?? id;
}

/** What follows the place in an id: the proof, and what the server wants to be told again. */
export function proofOf(id: string): string {
  return PARTS.exec(id)?.[2] ?? '';
}
