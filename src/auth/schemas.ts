import { t } from 'elysia';
import { BODY_REFUSALS, operation } from '../http/operation.ts';
import { integer, message, oneOf, orNull, ref } from '../http/schemas.ts';
import { newPassword } from './passwords.ts';
import { ROLES } from './principal.ts';

/** How many characters the name of a user has. */
export const USERNAME = { min: 1, max: 64 };

const patterns = (what: string) => t.Array(t.String(), { description: `Patterns of topics that one may ${what}` });
const rights = {
  publish: patterns('publish'),
  subscribe: patterns('see'),
  control: t.Boolean({ description: 'The patterns reach system.*.control, too' }),
};
const seconds = t.Unsafe<number>({ type: 'integer', description: 'Seconds since the epoch' });
const account = {
  uuid: t.String(),
  name: t.String(),
  ...rights,
  expires_at: orNull(seconds),
  created_at: seconds,
};

export const authModels = {
  ServiceAccount: t.Object({
    ...account,
    last_used_at: orNull(t.Unsafe<number>({ ...seconds, description: 'To the minute' })),
    revoked_at: orNull(seconds),
  }),
  NewServiceAccount: t.Object({ ...account, secret: t.String({ description: 'The token; seen this once' }) }),
  User: t.Object({
    uuid: t.String(),
    username: t.String(),
    role: oneOf(ROLES),
    must_change_password: t.Boolean(),
  }),
};

export const authOperations = {
  login: operation('login', {
    tag: 'session',
    summary: 'Sign in with a name and a password',
    description: 'The token goes into the header Authorization: Bearer of everything else.',
    access: 'public',
    answers: {
      200: t.Object({ access_token: t.String(), token_type: oneOf(['bearer']), must_change_password: t.Boolean() }),
    },
    refuses: [401, 429, ...BODY_REFUSALS],
  }),
  changePassword: operation('changePassword', {
    tag: 'session',
    summary: 'Choose a new password',
    description: 'Ends all sessions of the user, this one included.',
    access: 'viewer',
    answers: { 200: message },
    refuses: [429, ...BODY_REFUSALS],
  }),
  logout: operation('logout', {
    tag: 'session',
    summary: 'End this session, with its streams, on every node',
    access: 'viewer',
    answers: { 200: message },
  }),
  me: operation('readMe', {
    tag: 'session',
    summary: 'Read who you are and what you may do',
    access: 'anyone',
    answers: {
      200: t.Object({
        uuid: t.String(),
        name: t.String(),
        role: oneOf(['viewer', 'admin', 'account']),
        ...rights,
        expires_at: orNull(t.Number({ description: 'Seconds since the epoch' })),
      }),
    },
  }),
  ticket: operation('createStreamTicket', {
    tag: 'session',
    summary: 'Get a ticket that opens one stream',
    description: 'For browsers, whose EventSource sends no header: ?ticket=. Single use, short-lived.',
    access: 'anyone',
    answers: {
      200: t.Object({ ticket: t.String(), expires_in: t.Unsafe<number>({ ...integer, description: 'Seconds' }) }),
    },
  }),
  config: operation('readConfig', {
    tag: 'users',
    summary: 'Read the settings, and as an admin the users',
    access: 'viewer',
    answers: {
      200: t.Object({
        role: oneOf(ROLES, 'Of whoever asks'),
        deployment_limit: integer,
        global_mutation_interval: t.String({ description: 'Such as 30m' }),
        users: t.Optional(t.Array(ref('User'), { description: 'For admins only' })),
        developer_mode: t.Optional(t.Boolean({ description: 'For admins only, where it is on' })),
      }),
    },
  }),
  createUser: operation('createUser', {
    tag: 'users',
    summary: 'Add a user, who has to change the password first',
    access: 'admin',
    body: t.Object({
      username: t.String({ minLength: USERNAME.min, maxLength: USERNAME.max }),
      password: newPassword,
      role: oneOf(ROLES),
    }),
    answers: { 200: ref('User') },
    refuses: [409],
  }),
  deleteUser: operation('deleteUser', {
    tag: 'users',
    summary: 'Delete a user and end the sessions',
    access: 'admin',
    answers: { 200: message },
    refuses: [404],
  }),
  setRole: operation('setUserRole', {
    tag: 'users',
    summary: 'Change the role of a user and end the sessions',
    access: 'admin',
    body: t.Object({ role: oneOf(ROLES) }),
    answers: { 200: message },
    refuses: [404],
  }),
  resetPassword: operation('resetUserPassword', {
    tag: 'users',
    summary: 'Give a user a password that has to be changed, and end the sessions',
    access: 'admin',
    body: t.Object({ new_password: newPassword }),
    answers: { 200: message },
    refuses: [404],
  }),
};

export const accountOperations = {
  list: operation('listServiceAccounts', {
    tag: 'users',
    summary: 'List service accounts, those that were revoked lately too',
    access: 'admin',
    answers: { 200: t.Object({ items: t.Array(ref('ServiceAccount')) }) },
  }),
  read: operation('readServiceAccount', {
    tag: 'users',
    summary: 'Read a service account',
    access: 'admin',
    answers: { 200: ref('ServiceAccount') },
    refuses: [404],
  }),
  create: operation('createServiceAccount', {
    tag: 'users',
    summary: 'Make an account for a program, with its rights',
    access: 'admin',
    answers: { 201: ref('NewServiceAccount') },
    refuses: [409, ...BODY_REFUSALS],
  }),
  rotate: operation('rotateServiceAccount', {
    tag: 'users',
    summary: 'Give an account another secret; the one before may hold on for a while',
    access: 'admin',
    answers: { 200: ref('NewServiceAccount') },
    refuses: [404, 413, 415, 422],
  }),
  setRights: operation('changeServiceAccount', {
    tag: 'users',
    summary: 'Change what an account may do',
    access: 'admin',
    answers: { 200: ref('ServiceAccount') },
    refuses: [404, ...BODY_REFUSALS],
  }),
  revoke: operation('revokeServiceAccount', {
    tag: 'users',
    summary: 'End an account, with its streams',
    access: 'admin',
    answers: { 204: null },
    refuses: [404],
  }),
};
