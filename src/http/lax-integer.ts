// What Pydantic's lax mode takes for an integer in a string: signs and zero decimals, white space around.
const INTEGER_TEXT = /^\s*[+-]?\d+(?:\.0*)?\s*$/;

/** Reads what contract §5.3 rule 4 takes for an integer; `undefined` for everything else. */
export function laxInteger(value: unknown): number | undefined {
  if (typeof value === 'boolean') return Number(value);
  const number = typeof value === 'string' && INTEGER_TEXT.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isInteger(number) ? number : undefined;
}
