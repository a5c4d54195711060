/**
 * A node as a process of its own, so that it can be killed. `--without=<protection>` starts it without one: the negative
 * controls of the chaos test, which must then fail.
 */

import { EventLog } from '../../src/bus/event-log.ts';
import { tailChecks } from '../../src/bus/tail.ts';
import { loadConfig } from '../../src/config.ts';
import { type StartOptions, start } from '../../src/main.ts';
import { stopOnSignals } from '../../src/signals.ts';
import { recovery } from '../../src/stream/recovery.ts';
import { SocketWriter } from '../../src/ws/socket-writer.ts';

type Protections = NonNullable<StartOptions['protections']> & {
  readonly witness?: false;
  readonly backPressure?: false;
};

export const SABOTAGES = {
  /** History that was trimmed away is skipped in silence. */
  'gap check': {
    recovery: {
      ...recovery,
      open: (request, standing) =>
        recovery.open(request, {
          ...standing,
          nextKept: true,
          readerProof: standing.readerProof || (request.kind === 'from' ? request.cursor.proof : ''),
        }),
      accept: (offset, found) => (found <= offset ? 'repeated' : 'next'),
    },
  },
  /** Offsets of another epoch are taken for offsets of this one. */
  'epoch check': {
    recovery: {
      ...recovery,
      open: (request, standing) =>
        recovery.open(
          request.kind === 'from' ? { kind: 'from', cursor: { ...request.cursor, epoch: standing.epoch } } : request,
          standing,
        ),
    },
  },
  /** A number is believed without the proof that it is still the same event's. */
  'proof check': { recovery: { ...recovery, proves: () => true } },
  /** What the snapshot contained is forgotten when its client comes back. */
  'revision in the cursor': { recovery: { ...recovery, contained: () => 0 } },
  /** What memory holds is sent, whether or not it continues what the client has. */
  'window check': {
    recovery: {
      ...recovery,
      due: (offset, range) => (range === undefined || offset >= range.last ? 'nothing' : 'memory'),
      proves: (proof, found) => found === '' || recovery.proves(proof, found),
    },
  },
  /** The tail believes that the log it reads is the log there is. */
  'tail check': { tailChecks: { ...tailChecks, replaced: () => false } },
  /** Nobody asks whether the log still holds what the database knows to be published. */
  'witness check': { witness: false },
  /** A WebSocket is written to however much its client has not taken: Bun throws away what is too much. */
  'back-pressure of sockets': { backPressure: false },
} satisfies Record<string, Protections>;

export type Sabotage = keyof typeof SABOTAGES;

function isSabotage(name: string): name is Sabotage {
  return name in SABOTAGES;
}

/** The relay takes whatever log it finds for the one that the database knows. */
function believeTheLog(): void {
  const { testify } = EventLog.prototype;
  EventLog.prototype.testify = function (_witness, term) {
    return testify.call(this, { newest: undefined, epochs: [] }, term);
  };
  EventLog.prototype.relay = async function (publications, _term, known) {
    await this.publish(publications);
    return known;
  };
}

function ignoreFullSockets(): void {
  Object.defineProperty(SocketWriter.prototype, 'writable', { get: () => true });
}

if (import.meta.main) {
  const without = process.argv.find((argument) => argument.startsWith('--without='))?.slice('--without='.length);
  if (without !== undefined && !isSabotage(without)) throw new Error(`no protection is called ${without}`);
  const protections: Protections = without === undefined ? {} : SABOTAGES[without];
  if ('witness' in protections) believeTheLog();
  if ('backPressure' in protections) ignoreFullSockets();
  const starting = start(loadConfig(process.env), { protections, background: true });
  stopOnSignals(
    async () => (await starting).stop(),
    (error) => {
      throw error;
    },
  );
  await starting;
}
