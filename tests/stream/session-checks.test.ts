import { describe, expect, test } from 'bun:test';
import type { Principal } from '../../src/auth/principal.ts';
import { SessionChecks } from '../../src/stream/session-checks.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { until } from '../support/until.ts';

const RECHECK_MS = 30_000;
const TICK_MS = 1000;

const session = (jti: string, userUuid = `user of ${jti}`): Principal => ({
  ...{ userUuid, username: 'u', role: 'viewer', jti, issuedAt: 0 },
  expiresAt: Number.MAX_SAFE_INTEGER,
});

/** Streams are names; those that were ended are written down. */
function create() {
  const asked: string[] = [];
  const ended: string[] = [];
  const lines: string[] = [];
  const revoked = new Set<string>();
  let atOnce = 0;
  const state = { most: 0, isDown: false };
  const isStillValid = async ({ jti }: Principal) => {
    asked.push(jti);
    atOnce += 1;
    state.most = Math.max(state.most, atOnce);
    await Promise.resolve();
    atOnce -= 1;
    if (state.isDown) throw new Error('the database is down');
    return !revoked.has(jti);
  };
  const logger = createLog('warn', (line) => lines.push(line));
  const checks = new SessionChecks<string>({ isStillValid, logger }, (stream) => ended.push(stream));
  const add = (jti: string, stream: string, heard = checks.revocations) =>
    checks.add(session(jti), 'viewer', heard, stream);
  return { checks, add, asked, ended, revoked, lines, state };
}

describe('the sessions of open streams', () => {
  test('are asked about once each, however many streams they have, and all of those end', async () => {
    const { checks, add, asked, ended, revoked } = create();
    for (let number = 0; number < 5; number += 1) add('a', `a${number}`);
    add('b', 'b0');
    revoked.add('a');
    await checks.recheck();
    expect(asked.sort()).toEqual(['a', 'b']);
    expect(ended).toEqual(['a0', 'a1', 'a2', 'a3', 'a4']);
  });

  test('of one user are asked about when a revocation names that user, and no other', async () => {
    const { checks, add, asked } = create();
    add('a', 'a0');
    add('b', 'b0');
    await checks.recheck('user of b');
    await checks.recheck('a stranger');
    expect(asked).toEqual(['b']);
  });

  test('are asked about when a revocation came between authentication and registration, and not otherwise', async () => {
    const { checks, add, asked, ended, revoked } = create();
    const heard = checks.revocations;
    add('a', 'a0', heard);
    revoked.add('b');
    await checks.recheck('user of b');
    expect(asked).toEqual([]);
    add('b', 'b0', heard);
    await until('the end', () => ended.includes('b0'));
    add('a', 'a1');
    expect(asked).toEqual(['b']);
  });

  test('that were being asked about when the revocation came are asked about again', async () => {
    const { checks, add, ended, revoked } = create();
    add('a', 'a0');
    const asking = checks.recheck('user of a');
    revoked.add('a');
    await Promise.all([asking, checks.recheck('user of a')]);
    expect(ended).toContain('a0');
  });

  test('are spread over the interval, each asked about once in it, a few at a time', async () => {
    const { checks, add, asked, state } = create();
    const all = Array.from({ length: 3000 }, (_, number) => `s${number}`);
    for (const jti of all) add(jti, jti);
    const start = performance.now();
    checks.tick(start + RECHECK_MS - TICK_MS, TICK_MS);
    expect(asked).toEqual([]);
    // All came at the same time, and are due at the same time.
    let ticks = 0;
    while (asked.length < all.length) {
      const before = asked.length;
      ticks += 1;
      checks.tick(start + RECHECK_MS + TICK_MS, TICK_MS);
      const tick = Math.min(all.length, before + 200);
      await until('those of this tick', () => asked.length >= tick);
      expect(asked.length).toBe(tick);
    }
    expect(ticks).toBe(15);
    expect(new Set(asked).size).toBe(all.length);
    expect(state.most).toBeLessThanOrEqual(8);
  });

  test('leave the event loop its turns while thousands are asked about', async () => {
    const { checks, add, asked } = create();
    for (let number = 0; number < 1000; number += 1) add(`s${number}`, 'stream');
    const seen = new Set<number>();
    const look = () => {
      seen.add(asked.length);
      if (asked.length < 1000) setImmediate(look);
    };
    setImmediate(look);
    await checks.recheck();
    expect(seen.size).toBeGreaterThan(50);
  });

  test('that have no stream any more are not asked about', async () => {
    const { checks, add, asked } = create();
    add('a', 'a0');
    add('a', 'a1');
    checks.delete(session('a'), 'viewer', 'a0');
    await checks.recheck();
    expect(asked).toEqual(['a']);
    checks.delete(session('a'), 'viewer', 'a1');
    checks.delete(session('a'), 'viewer', 'a1');
    await checks.recheck();
    expect(asked).toEqual(['a']);
  });

  test('go on while nobody can say, with one line in the log, and end afterwards', async () => {
    const { checks, add, ended, revoked, lines, state } = create();
    for (let number = 0; number < 100; number += 1) add(`s${number}`, `s${number}`);
    revoked.add('s50');
    state.isDown = true;
    await checks.recheck();
    expect(ended).toEqual([]);
    expect(lines).toHaveLength(1);
    state.isDown = false;
    await checks.recheck();
    expect(ended).toEqual(['s50']);
  });
});
