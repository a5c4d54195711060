/**
 * A mutator in a process of its own that applies one mutation of a topology and kills itself at a step on the way: before
 * a statement, around a change of the substrate, after a commit. Ends by itself, telling how many steps there were, when
 * there is no such step.
 *
 * `bun dying-mutator.ts <database url> <folder of the substrate> <topology> <step>`
 */

import type { KyselyPlugin } from 'kysely';
import { openDatabase } from '../../../src/db/database.ts';
import { applyMutation } from '../../../src/topology/mutator/apply.ts';
import { claimNext } from '../../../src/topology/mutator/claim.ts';
import { quiet } from '../../support/database.ts';
import { fileSubstrate } from './file-substrate.ts';

const [, , url = '', folder = '', topologyId = '', last = ''] = process.argv;

let steps = 0;
function step(): void {
  steps += 1;
  if (steps === Number(last)) process.kill(process.pid, 'SIGKILL');
}

const beforeEachStatement: KyselyPlugin = {
  transformQuery({ node }) {
    step();
    return node;
  },
  transformResult: async ({ result }) => result,
};

const db = openDatabase(url, quiet).withPlugin(beforeEachStatement);
const leaseMs = 30_000;
const claim = await claimNext(db, topologyId, { holder: 'dying', leaseMs, now: Date.now() });
if (claim === undefined) throw new Error(`there is nothing to apply in ${topologyId}`);
step();
const substrate = fileSubstrate(folder, step);
await applyMutation({ db, substrate, logger: quiet, onCommitted: step, leaseMs, now: Date.now }, claim);
await db.destroy();
console.log(steps);
