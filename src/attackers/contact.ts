/** How close an attacker came to a service, the closest last. */
export const CONTACT = {
  /** The service said something of itself while he was there. */
  noise: 0,
  /** He looked whether it is there, and what it is. */
  scanned: 1,
  /** He tried something on it. */
  used: 2,
} as const;

export type Contact = (typeof CONTACT)[keyof typeof CONTACT];

const NOISE = /^(?:-|startup|shutdown|started|stopped|status|heartbeat|error|warning|info|debug)$/;
const SCAN =
  /^(?:(?:new_?)?connect(?:ion|ed)?(?:_\w+)?|disconnect(?:ed|ion)?|conn_\w+|scan\w*|port_?scan|probe\w*|syn\w*|banner\w*|ping|timeout|handshake\w*|tls_\w+|tcp_\w+|quic_\w+|\w+_fingerprint|ssh_client_banner)$/;

/** What a line's event type says of it. Which types there are is for the deckies to say: an unknown one is a use. */
export function contactOf(eventType: string): Contact {
  const type = eventType.toLowerCase();
  if (NOISE.test(type)) return CONTACT.noise;
  return SCAN.test(type) ? CONTACT.scanned : CONTACT.used;
}
