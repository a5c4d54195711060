import { newAccount, newName, newUser, PASSWORD } from '../world.ts';
import { type Calls, nothing, only } from './call.ts';

/** Signing in, users, service accounts, settings. */
export const PEOPLE: Readonly<Record<string, Calls>> = {
  login: () => [
    { body: { username: 'admin-user', password: PASSWORD }, expect: 200 },
    { body: { username: 'admin-user', password: 'wrong' }, expect: 401 },
    { body: { username: 'admin-user' }, expect: 400 },
    { body: { username: 'admin-user', password: 'x'.repeat(73) }, expect: 422 },
  ],
  changePassword: async (world) => {
    const { token } = await newUser(world);
    const new_password = 'another-long-word';
    return [
      { token, body: { old_password: 'wrong', new_password }, expect: 401 },
      { token, body: { old_password: PASSWORD, new_password: 'short' }, expect: 400 },
      { token, body: { old_password: PASSWORD, new_password: 'x'.repeat(73) }, expect: 422 },
      { token, body: { old_password: PASSWORD, new_password }, expect: 200 },
    ];
  },
  logout: async (world) => [{ token: (await newUser(world)).token, expect: 200 }],
  createStreamTicket: only(200),
  readMe: async (world) => {
    const account = await newAccount(world);
    return [{ expect: 200 }, { token: world.viewer, expect: 200 }, { token: account.secret, expect: 200 }];
  },
  readConfig: ({ viewer }) => [{ expect: 200 }, { token: viewer, expect: 200 }],
  createUser: () => {
    const body = { username: newName(), password: 'a-long-enough-word', role: 'viewer' };
    return [
      { body, expect: 200 },
      { body, expect: 409 },
      { body: { ...body, role: 'king' }, expect: 422 },
    ];
  },
  deleteUser: async (world) => {
    const params = { uuid: (await newUser(world)).uuid };
    return [
      { params, expect: 200 },
      { params, expect: 404 },
    ];
  },
  setUserRole: async (world) => {
    const params = { uuid: (await newUser(world)).uuid };
    return [
      { params, body: { role: 'admin' }, expect: 200 },
      { params, body: { role: 'king' }, expect: 422 },
      { body: { role: 'admin' }, expect: 404 },
    ];
  },
  resetUserPassword: async (world) => {
    const params = { uuid: (await newUser(world)).uuid };
    const body = { new_password: 'a-long-enough-word' };
    return [
      { params, body, expect: 200 },
      { params, body: { new_password: 'x'.repeat(73) }, expect: 422 },
      { body, expect: 404 },
    ];
  },

  listServiceAccounts: async (world) => {
    const { uuid } = await newAccount(world);
    await world.api('DELETE', `/service-accounts/${uuid}`);
    return [{ expect: 200 }];
  },
  readServiceAccount: async (world) => [{ params: { uuid: (await newAccount(world)).uuid }, expect: 200 }, nothing],
  createServiceAccount: () => {
    const body = { name: newName(), publish: ['attacker.>'], subscribe: [], expires_at: null };
    return [
      { body, expect: 201 },
      { body, expect: 409 },
      { body: { name: newName() }, expect: 422 },
      { body: { ...body, name: newName(), publish: ['a..b'] }, expect: 422 },
    ];
  },
  rotateServiceAccount: async (world) => {
    const params = { uuid: (await newAccount(world)).uuid };
    return [
      { params, body: { grace_seconds: 60 }, expect: 200 },
      { params, body: { grace_seconds: -1 }, expect: 422 },
      { body: {}, expect: 404 },
    ];
  },
  changeServiceAccount: async (world) => {
    const params = { uuid: (await newAccount(world)).uuid };
    return [
      { params, body: { publish: ['decky.>'] }, expect: 200 },
      { params, body: { publish: ['a..b'] }, expect: 422 },
      { body: {}, expect: 404 },
    ];
  },
  revokeServiceAccount: async (world) => [{ params: { uuid: (await newAccount(world)).uuid }, expect: 204 }, nothing],

  setDeploymentLimit: () => [
    { body: { deployment_limit: 400 }, expect: 200 },
    { body: { deployment_limit: 501 }, expect: 422 },
    { body: {}, expect: 400 },
  ],
  setMutationInterval: () => [
    { body: { global_mutation_interval: '30m' }, expect: 200 },
    { body: { global_mutation_interval: 'often' }, expect: 422 },
    { body: {}, expect: 400 },
  ],
};
