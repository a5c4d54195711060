import type { JsonObject } from '../../../src/bus/event.ts';
import type { MutationOp } from '../../../src/topology/model.ts';

/** An operation that {@link OFFICE} refuses, and the reason that its mutation gets. */
export type Refusal = readonly [op: MutationOp, payload: JsonObject, reason: string];

const notNamed = (key: string) => `MutationError: '${key}' must be a text that is not empty`;

/** Every refusal of contract §5.6, with `t1` in the state of `OFFICE`. */
export const REFUSALS: readonly Refusal[] = [
  ['add_lan', {}, "KeyError: 'name'"],
  ['add_lan', { name: 7 }, notNamed('name')],
  ['add_lan', { name: null }, notNamed('name')],
  ['add_lan', { name: '' }, notNamed('name')],
  ['add_lan', { name: 'a\0b' }, "MutationError: 'name' must not hold NUL or half of a surrogate pair"],
  ['add_lan', { name: 'dmz' }, "IntegrityError: LAN 'dmz' already exists"],
  ['add_lan', { name: 'lab', subnet: 7 }, notNamed('subnet')],
  ['add_lan', { name: 'lab', is_dmz: 'no' }, "MutationError: 'is_dmz' must be true or false"],
  ['add_lan', { name: 'lab', x: '40' }, "MutationError: 'x' must be a number"],
  [
    'add_lan',
    { name: 'lab', subnet: '10.9.0.7/24' },
    'MutationError: post-apply validation failed for t1: SUBNET_MALFORMED',
  ],
  [
    'add_lan',
    { name: 'lab', subnet: '10.0.0.0/16' },
    'MutationError: post-apply validation failed for t1: SUBNET_OVERLAP',
  ],
  ['remove_lan', {}, "KeyError: 'name'"],
  ['remove_lan', { name: 'nowhere' }, "MutationError: LAN 'nowhere' not found"],
  [
    'remove_lan',
    { name: 'office' },
    "MutationError: LAN 'office' is the home LAN of decky 'desk'; remove the decky first",
  ],
  ['add_decky', {}, "KeyError: 'name'"],
  ['add_decky', { name: 'db' }, "KeyError: 'lan'"],
  ['add_decky', { name: ['db'], lan: 'office' }, notNamed('name')],
  [
    'add_decky',
    { name: 'd.b', lan: 'office' },
    "MutationError: topic segment 'd.b' may not contain '.', '*', '>', or whitespace",
  ],
  ['add_decky', { name: 'desk', lan: 'office' }, "MutationError: decky 'desk' already exists"],
  ['add_decky', { name: 'db', lan: 'nowhere' }, "MutationError: LAN 'nowhere' not found"],
  [
    'add_decky',
    { name: 'db', lan: 'office', services: 'ssh' },
    "MutationError: 'services' must be a list of service names",
  ],
  [
    'add_decky',
    { name: 'db', lan: 'office', services: [1] },
    "MutationError: 'services' must be a list of service names",
  ],
  ['add_decky', { name: 'db', lan: 'office', forwards_l3: 1 }, "MutationError: 'forwards_l3' must be true or false"],
  [
    'add_decky',
    { name: 'db', lan: 'office', services: ['ssh', 'gopher'] },
    'MutationError: post-apply validation failed for t1: UNKNOWN_SERVICE',
  ],
  [
    'add_decky',
    { name: 'db', lan: 'office', ip: 'ten' },
    'MutationError: post-apply validation failed for t1: IP_MALFORMED',
  ],
  [
    'add_decky',
    { name: 'db', lan: 'office', ip: '10.0.0.9' },
    'MutationError: post-apply validation failed for t1: IP_OUT_OF_SUBNET',
  ],
  [
    'add_decky',
    { name: 'db', lan: 'office', ip: '10.0.1.3' },
    'MutationError: post-apply validation failed for t1: IP_COLLISION',
  ],
  ['attach_decky', {}, "KeyError: 'decky'"],
  ['attach_decky', { decky: 'web' }, "KeyError: 'lan'"],
  ['attach_decky', { decky: 'web', lan: 'nowhere' }, "MutationError: LAN 'nowhere' not found"],
  ['attach_decky', { decky: 'nobody', lan: 'office' }, "MutationError: decky 'nobody' not found"],
  ['attach_decky', { decky: 'gateway', lan: 'office' }, "MutationError: decky 'gateway' already on LAN 'office'"],
  ['detach_decky', {}, "KeyError: 'decky'"],
  ['detach_decky', { decky: 'web' }, "KeyError: 'lan'"],
  ['detach_decky', { decky: 'nobody', lan: 'office' }, 'MutationError: decky or LAN not found'],
  ['detach_decky', { decky: 'web', lan: 'nowhere' }, 'MutationError: decky or LAN not found'],
  ['detach_decky', { decky: 'web', lan: 'dmz' }, "MutationError: cannot detach home LAN 'dmz'; use remove_decky"],
  ['detach_decky', { decky: 'web', lan: 'office' }, "MutationError: decky not attached to LAN 'office'"],
  ['remove_decky', {}, "KeyError: 'decky'"],
  ['remove_decky', { decky: 'nobody' }, "MutationError: decky 'nobody' not found"],
  ['update_decky', {}, "KeyError: 'decky'"],
  ['update_decky', { decky: 'nobody' }, "MutationError: decky 'nobody' not found"],
  ['update_decky', { decky: 'web', patch: [] }, "MutationError: 'patch' must be an object"],
  [
    'update_decky',
    { decky: 'desk', patch: { forwards_l3: true }, force: true },
    "MutationError: decky 'desk' cannot forward: only a decky homed in a DMZ LAN may",
  ],
  [
    'update_decky',
    { decky: 'web', patch: { forwards_l3: true } },
    "MutationError: forwards_l3 of decky 'web' changes on a live topology only with force",
  ],
  [
    'update_decky',
    { decky: 'web', patch: { ips_by_lan: { nowhere: '10.0.0.3' } } },
    'MutationError: post-apply validation failed for t1: IP_UNKNOWN_LAN',
  ],
  [
    'update_decky',
    { decky: 'web', patch: { service_config: { http: {} } } },
    'MutationError: post-apply validation failed for t1: SERVICE_CFG_UNDECLARED',
  ],
  [
    'update_decky',
    { decky: 'web', patch: { name: 'desk' }, services: ['gopher'] },
    'MutationError: post-apply validation failed for t1: DECKY_NAME_DUP, UNKNOWN_SERVICE',
  ],
  ['update_lan', {}, "KeyError: 'name'"],
  ['update_lan', { name: 'nowhere', patch: {} }, "MutationError: LAN 'nowhere' not found"],
  [
    'update_lan',
    { name: 'office', patch: { subnet: '10.0.2.0/24' } },
    'MutationError: subnet of a LAN cannot change while the topology is live; redeploy it',
  ],
  [
    'update_lan',
    { name: 'office', patch: { is_dmz: true } },
    'MutationError: is_dmz of a LAN cannot change while the topology is live; redeploy it',
  ],
  ['update_lan', { name: 'office', patch: { name: 'dmz' } }, "IntegrityError: LAN 'dmz' already exists"],
  ['update_lan', { name: 'office', patch: { id: 'x' } }, "MutationError: a LAN's 'id' cannot be patched"],
  ['update_lan', { name: 'office', patch: { name: 3 } }, notNamed('name')],
];
