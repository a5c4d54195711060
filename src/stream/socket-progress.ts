import { open } from 'node:fs/promises';

/** The two ends of a socket of this process. */
export interface Peer {
  /** Of the client, as the server names it: IPv4 or IPv6. */
  readonly address: string;
  readonly port: number;
  /** Where the server listens. */
  readonly localPort: number;
}

/** Linux only (proc_pid_net(5)): the sockets of this network namespace, a line for each. */
const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6'] as const;
/** Read at once: some hundred lines, less than a millisecond to look through. */
const READ_BYTES = 64 * 1024;

/**
 * How many bytes the kernel holds for each of these sockets that the other side has not acknowledged. One pass over the
 * tables of the kernel for all of them, in slices between which other work goes on. An acknowledgement comes from the
 * client's kernel: a client which reads slowly gives it in steps, as its receive buffer empties by a sixteenth or so.
 * @returns without those that were not found: a closed socket, another system than Linux, a client behind a UNIX socket
 */
export async function unacknowledged(peers: Iterable<Peer>): Promise<Map<Peer, number>> {
  const found = new Map<Peer, number>();
  if (process.platform !== 'linux') return found;
  const wanted = Map.groupBy(peers, ({ localPort, port }) => portsKey(localPort, port));
  for (const table of TABLES) {
    await eachLine(table, (line) => {
      const match = socketOf(line);
      if (match === undefined) return;
      for (const peer of wanted.get(match.ports) ?? []) {
        if (canonical(peer.address) === addressOf(match.address)) found.set(peer, match.unacknowledged);
      }
    });
  }
  return found;
}

/** A table that is not there (no IPv6) has no lines. */
async function eachLine(path: string, onLine: (line: string) => void): Promise<void> {
  const file = await open(path).catch(() => undefined);
  if (file === undefined) return;
  try {
    const buffer = Buffer.alloc(READ_BYTES);
    let rest = '';
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, READ_BYTES, null);
      if (bytesRead === 0) return;
      const lines = (rest + buffer.toString('latin1', 0, bytesRead)).split('\n');
      rest = lines.pop() ?? '';
      lines.forEach(onLine);
    }
  } finally {
    await file.close();
  }
}

/**
 * `  12: 0100007F:1F90 0100007F:D431 01 0003C000:00000000 …`: number, local and remote address and port, state, bytes in
 * the send and in the receive queue; all in hexadecimal digits, addresses in words of the machine's byte order. By
 * position, because there may be tens of thousands of lines.
 */
function socketOf(line: string): { ports: string; address: string; unacknowledged: number } | undefined {
  const local = line.indexOf(': ') + 2;
  const remote = line.indexOf(' ', local) + 1;
  const end = line.indexOf(' ', remote);
  const queue = end + 4;
  if (local < 2 || remote === 0 || end === -1) return undefined;
  return {
    ports: `${line.slice(remote - 5, remote - 1)}:${line.slice(end - 4, end)}`,
    address: line.slice(remote, end - 5),
    unacknowledged: Number.parseInt(line.slice(queue, queue + 8), 16),
  };
}

function portsKey(local: number, remote: number): string {
  const digits = (port: number) => port.toString(16).toUpperCase().padStart(4, '0');
  return `${digits(local)}:${digits(remote)}`;
}

const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** The address that hexadecimal words stand for, in its canonical form. */
function addressOf(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  if (IS_LITTLE_ENDIAN) bytes.swap32();
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index).toString(16));
  return canonical(groups.join(':'));
}

const MAPPED = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/;

/** One spelling for each address, as URLs have it; an IPv4 address inside an IPv6 one is that IPv4 address. */
function canonical(address: string): string {
  if (!address.includes(':')) return address;
  const text = new URL(`http://[${address.replace(/%.*/, '')}]`).hostname.slice(1, -1);
  const [, high, low] = MAPPED.exec(text) ?? [];
  if (high === undefined || low === undefined) return text;
  const number = Number.parseInt(high, 16) * 65_536 + Number.parseInt(low, 16);
  return [24, 16, 8, 0].map((shift) => (number >>> shift) & 255).join('.');
}
