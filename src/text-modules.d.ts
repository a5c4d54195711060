/** Lua scripts are imported as text and sent to Redis. */
declare module '*.lua' {
  const source: string;
  export default source;
}

/** A template that a subscription can name, see webhook/template.ts. */
declare module '*.liquid' {
  const source: string;
  export default source;
}
