import { LOG_CHANNEL } from '../bus/channel.ts';
import type { StreamDeclaration } from './declaration.ts';

/** Families that say something about secrets, bait or control; viewers of DECNET see none of their pages. */
const ADMIN_ONLY = ['canary.>', 'credential.>', 'email.>', 'log.set_aside', 'smtp.>', 'system.>', 'ttp.>'];

const EVERYONE = [
  'attacker.>',
  'attribution.>',
  'campaign.>',
  'decky.>',
  'identity.>',
  'orchestrator.>',
  'system.*.health',
  'system.log',
  'topology.>',
];

/** `GET /events?topics=attacker.>,decky.*.state`: any pattern, off the log. */
export const patternStream: StreamDeclaration = {
  name: 'events',
  path: '/events',
  role: 'viewer',
  channel: () => LOG_CHANNEL,
  // Native EventSource hears only names that it was told, and topics are open-ended: frames are unnamed, the topic is in
  // the data.
  eventName: () => undefined,
  topics: { viewer: EVERYONE, admin: [...EVERYONE, ...ADMIN_ONLY] },
  summary: 'Follow any topics, as far as the role may see them',
  takesPatterns: true,
};
