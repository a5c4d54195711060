import { channelsOf } from '../bus/channel.ts';
import { topics } from '../bus/topic.ts';

type Builder = keyof typeof topics;

/** What a family of topics tells; a builder without a line here does not compile. */
const FAMILIES: Readonly<Record<Builder, string>> = {
  topologyMutation: 'A mutation of a topology was enqueued, is applied, or failed',
  topologyStatus: 'A topology has another status',
  decky: 'Something about a decky: its state, its services, what it observed',
  deckyMutation: 'A decky pretends to be something else',
  deckyLifecycle: 'What became of a request to change a decky',
  system: 'About the plane itself',
  systemHealth: 'A worker is alive',
  systemControl: 'A worker is told to do something',
  attacker: 'What an attacker does',
  attackerObservation: 'An observation of an attacker, by its primitive',
  identity: 'What becomes known of who attackers are',
  campaign: 'What becomes known of campaigns',
  credential: 'Credentials that were tried',
  attribution: 'To whom something is attributed',
  smtp: 'What mail servers see',
  email: 'Mail of the personas',
  ttp: 'Techniques that were recognised',
  orchestrator: 'The orchestrator about a decky',
  canary: 'A canary token was touched',
  ttpRuleFired: 'A rule for a technique has fired',
  ttpRuleReloaded: 'A rule was read again',
  ttpRuleState: 'A rule was turned on or off',
  webhookSubscriptionsChanged: 'Subscriptions of webhooks have changed',
  webhookBreaker: 'The breaker of a webhook has opened, probes, or has closed',
  webhookDisabled: 'A webhook was disabled, because its receiver is gone or has failed for days',
  webhookBacklog:
    'The backlog of a webhook is full, what comes waits in the log (full); or it stands where all do again (caught_up)',
  webhookDropped: 'There were too many dead letters of a webhook: the oldest were dropped',
};

/** Names of the variable tokens, in the order of the builders' parameters. */
const PARAMETERS: Partial<Readonly<Record<Builder, readonly string[]>>> = {
  topologyMutation: ['topology_id', 'state'],
  topologyStatus: ['topology_id'],
  decky: ['decky', 'type'],
  deckyMutation: ['decky'],
  deckyLifecycle: ['decky'],
  systemHealth: ['worker'],
  systemControl: ['worker'],
  attackerObservation: ['primitive'],
  orchestrator: ['type', 'decky'],
  canary: ['token', 'type'],
  ttpRuleFired: ['technique'],
  ttpRuleReloaded: ['rule'],
  ttpRuleState: ['rule'],
  webhookBreaker: ['webhook'],
  webhookDisabled: ['webhook'],
  webhookBacklog: ['webhook'],
  webhookDropped: ['webhook'],
};

/** What the leaf of a family is called that has no other variable token. */
const LEAF = ['type'];

/** A family of topics, for the document. */
export interface TopicFamily {
  readonly name: Builder;
  readonly summary: string;
  /** With `{parameter}` in the place of variable tokens. */
  readonly address: string;
  readonly parameters: readonly string[];
  /** The log's channels that its events are in, beside the one of everything. */
  readonly channels: readonly string[];
}

/** Every family that a builder makes. */
export function topicFamilies(): TopicFamily[] {
  return Object.entries(topics).map(([key, builder]) => {
    if (!isBuilder(key)) throw new Error(`no builder of topics: ${key}`);
    const parameters = typeof builder === 'string' ? [] : (PARAMETERS[key] ?? LEAF);
    const [first = '', second = ''] = parameters.map((parameter) => `{${parameter}}`);
    const address = typeof builder === 'string' ? builder : builder(first, second);
    // Those of deckies are in the channel of the topology too that their payload names.
    const payload = address.startsWith('decky.') ? { topology_id: '{topology_id}' } : {};
    return {
      name: key,
      summary: FAMILIES[key],
      address,
      parameters,
      channels: channelsOf({ topic: address, payload }),
    };
  });
}

function isBuilder(key: string): key is Builder {
  return Object.hasOwn(topics, key);
}
