/**
 * The topic hierarchy: dot-separated, case-sensitive tokens (contract §1). Builders make every topic that DECNET knows;
 * {@link matches} is the NATS-style wildcard matcher.
 */

/** A topic or pattern that cannot be used; the message says why. */
export class TopicError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'TopicError';
  }
}

// Python's str.isspace, which DECNET's builders use: Unicode White_Space plus the separators U+001C to U+001F.
// biome-ignore lint/suspicious/noControlCharactersInRegex: the four control characters are the point
const WHITESPACE = /[\s\u0085\u001c-\u001f]/u;

/** One token: not empty, without `.`, wildcards or white space. */
function segment(value: string): string {
  if (value === '') throw new TopicError('topic segment must not be empty');
  if (/[.*>]/.test(value) || isSpaced(value)) {
    throw new TopicError(`topic segment '${value}' may not contain '.', '*', '>', or whitespace`);
  }
  return value;
}

/** U+FEFF is white space to JavaScript's `\s` but not to Unicode; DECNET accepts it. */
function isSpaced(value: string): boolean {
  return WHITESPACE.test(value.replaceAll('\ufeff', ''));
}

/** The leaf of a family; it may hold dots (`session.started`). Only the empty string is refused (contract §1.1). */
function leaf(value: string): string {
  if (value === '') throw new TopicError('topic segment must not be empty');
  return value;
}

const family = (root: string) => (type: string) => `${root}.${leaf(type)}`;

/** Builders, one for each topic family. All throw {@link TopicError}. */
export const topics = {
  topologyMutation: (id: string, state: string) => `topology.${segment(id)}.mutation.${segment(state)}`,
  topologyStatus: (id: string) => `topology.${segment(id)}.status`,
  decky: (id: string, type: string) => `decky.${segment(id)}.${segment(type)}`,
  deckyMutation: (id: string) => `decky.${segment(id)}.mutation`,
  deckyLifecycle: (id: string) => `decky.${segment(id)}.lifecycle`,
  system: family('system'),
  systemHealth: (worker: string) => `system.${segment(worker)}.health`,
  systemControl: (worker: string) => `system.${segment(worker)}.control`,
  attacker: family('attacker'),
  attackerObservation: (primitive: string) => `attacker.observation.${leaf(primitive)}`,
  identity: family('identity'),
  campaign: family('campaign'),
  credential: family('credential'),
  attribution: family('attribution'),
  smtp: family('smtp'),
  email: family('email'),
  ttp: family('ttp'),
  orchestrator: (type: string, decky: string) => `orchestrator.${segment(type)}.${segment(decky)}`,
  canary: (token: string, type: string) => `canary.${segment(token)}.${segment(type)}`,
  /** Takes the parent technique: a sub-technique (`T1110.001`) holds a dot and is refused. */
  ttpRuleFired: (technique: string) => `ttp.rule.fired.${segment(technique)}`,
  ttpRuleReloaded: (rule: string) => `ttp.rule.reloaded.${segment(rule)}`,
  ttpRuleState: (rule: string) => `ttp.rule.state.${segment(rule)}`,
  webhookSubscriptionsChanged: 'system.webhook.subscriptions_changed',
  webhookBreaker: (uuid: string) => `system.webhook.${segment(uuid)}.breaker`,
  webhookDisabled: (uuid: string) => `system.webhook.${segment(uuid)}.disabled`,
  webhookBacklog: (uuid: string) => `system.webhook.${segment(uuid)}.backlog`,
  webhookDropped: (uuid: string) => `system.webhook.${segment(uuid)}.dropped`,
} as const;

/** What nearly every topic looks like, found with one look; others are gone through token by token. */
const USUAL_TOPIC = /^[\w-]+(?:\.[\w-]+)*$/;

/** The longest topic that a producer may publish, in characters. */
export const MAX_TOPIC_LENGTH = 512;

/**
 * Checks a topic that a producer wants to publish. DECNET asks only for "not empty"; this log is read by wildcard, so
 * empty tokens, wildcards and white space are refused too.
 * @throws {TopicError} saying what is wrong
 */
export function assertTopic(topic: string): void {
  if (topic.length > MAX_TOPIC_LENGTH) throw new TopicError(`topic is longer than ${MAX_TOPIC_LENGTH} characters`);
  if (USUAL_TOPIC.test(topic)) return;
  for (const token of topic.split('.')) segment(token);
}

/**
 * Checks a pattern that a client subscribes to: tokens as in a topic, `*` for one token, `>` only as the last.
 * @throws {TopicError} saying what is wrong
 */
export function assertPattern(pattern: string): void {
  if (pattern.length > MAX_TOPIC_LENGTH) throw new TopicError(`pattern is longer than ${MAX_TOPIC_LENGTH} characters`);
  const tokens = pattern.split('.');
  tokens.forEach((token, index) => {
    if (token === '>' && index < tokens.length - 1) {
      throw new TopicError(`pattern '${pattern}' may hold '>' only as its last token`);
    }
    if (token !== '*' && token !== '>') segment(token);
  });
}

/**
 * NATS-style match. `*` stands for exactly one non-empty token; `>` for one or more trailing tokens whatever they hold,
 * and ends the pattern. Every vector of contract §1.2 holds.
 */
export function matches(pattern: string, topic: string): boolean {
  return matchesTokens(pattern.split('.'), topic.split('.'));
}

function matchesTokens(wanted: readonly string[], tokens: readonly string[]): boolean {
  for (const [index, token] of wanted.entries()) {
    const found = tokens[index];
    if (found === undefined) return false;
    if (token === '>') return true;
    if (token === '*' ? found === '' : token !== found) return false;
  }
  return wanted.length === tokens.length;
}

/** True when any of the patterns matches. */
export function matchesAny(patterns: readonly string[], topic: string): boolean {
  return patterns.some((pattern) => matches(pattern, topic));
}

/** One predicate for several patterns, for many topics: the patterns are taken apart once. */
export function matcher(patterns: readonly string[]): (topic: string) => boolean {
  const all = patterns.map((pattern) => pattern.split('.'));
  return (topic) => {
    const tokens = topic.split('.');
    return all.some((wanted) => matchesTokens(wanted, tokens));
  };
}

/** True when every topic that the second pattern matches is matched by the first, too. */
export function covers(wide: string, narrow: string): boolean {
  return compare(wide.split('.'), narrow.split('.'), (a, b) => a === b || (a === '*' && b !== '>'));
}

/** True when there is a topic that both patterns match. */
export function overlaps(one: string, other: string): boolean {
  const meets = (a: string, b: string) => a === b || a === '*' || b === '*';
  return compare(one.split('.'), other.split('.'), meets) || compare(other.split('.'), one.split('.'), meets);
}

/** Token by token, until `>` in the first pattern stands for all the rest of the second. */
function compare(
  wide: readonly string[],
  narrow: readonly string[],
  meets: (token: string, other: string) => boolean,
): boolean {
  for (const [index, token] of wide.entries()) {
    const other = narrow[index];
    if (other === undefined) return false;
    if (token === '>') return true;
    if (!meets(token, other)) return false;
  }
  return wide.length === narrow.length;
}
