import { LOG_CHANNEL } from '../bus/channel.ts';
import type { StreamDeclaration } from './declaration.ts';

/** `GET /events?topics=attacker.>,decky.*.state`: any pattern, off the log. */
export const patternStream: StreamDeclaration = {
  name: 'events',
  path: '/events',
  channel: () => LOG_CHANNEL,
  // Native EventSource hears only names that it was told, and topics are open-ended: frames are unnamed, the topic is in
  // the data.
  eventName: () => undefined,
  topics: ['>'],
  summary: 'Follow any topics, as far as you may see them',
  takesPatterns: true,
};
