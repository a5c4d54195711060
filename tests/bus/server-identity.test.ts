import { describe, expect, test } from 'bun:test';
import { serverIdentity } from '../../src/bus/event-log.ts';

const NEVER = '0'.repeat(40);
const SECOND_ID = 'f3'.repeat(20);

const info = (replid2: string, aof: number) =>
  `# Server\r\nredis_version:7.0.15\r\nrun_id:abc123\r\n# Persistence\r\naof_enabled:${aof}\r\n# Replication\r\nmaster_replid2:${replid2}\r\n`;

describe('what becomes of acknowledged events when such a server takes over', () => {
  test.each([
    ['synced at each write', info(NEVER, 1), 'always', 'kept'],
    ['synced each second', info(NEVER, 1), 'everysec', 'unsure'],
    ['synced as the system likes', info(NEVER, 1), 'no', 'unsure'],
    ['that does not tell how it syncs', info(NEVER, 1), undefined, 'unsure'],
    ['without an append-only file', info(NEVER, 0), 'always', 'lost'],
    ['promoted from replica', info(SECOND_ID, 1), 'always', 'lost'],
    ['promoted, without an append-only file', info(SECOND_ID, 0), undefined, 'lost'],
    ['with bare line ends', info(NEVER, 1).replaceAll('\r', ''), 'always', 'kept'],
  ] as const)('one %s', (_which, text, fsync, afterRestart) => {
    expect(serverIdentity(text, fsync)).toEqual({ runId: 'abc123', afterRestart });
  });

  test('one that says nothing of its append-only file is not trusted to have one', () => {
    expect(serverIdentity('run_id:abc123\n', 'always')).toEqual({ runId: 'abc123', afterRestart: 'lost' });
  });
});
