import { t } from 'elysia';
import { BODY_REFUSALS, operation } from '../http/operation.ts';
import { integer, message, oneOf, ref } from '../http/schemas.ts';

export const authModels = {
  User: t.Object({
    uuid: t.String(),
    username: t.String(),
    role: oneOf(['viewer', 'admin']),
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
  ticket: operation('createStreamTicket', {
    tag: 'session',
    summary: 'Get a ticket that opens one stream',
    description: 'For browsers, whose EventSource sends no header: ?ticket=. Single use, short-lived.',
    access: 'viewer',
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
        role: oneOf(['viewer', 'admin'], 'Of whoever asks'),
        deployment_limit: integer,
        global_mutation_interval: t.String({ description: 'Such as 30m' }),
        users: t.Optional(t.Array(ref('User'), { description: 'For admins only' })),
      }),
    },
  }),
  createUser: operation('createUser', {
    tag: 'users',
    summary: 'Add a user, who has to change the password first',
    access: 'admin',
    answers: { 200: ref('User') },
    refuses: [409, ...BODY_REFUSALS],
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
    answers: { 200: message },
    refuses: [404, ...BODY_REFUSALS],
  }),
  resetPassword: operation('resetUserPassword', {
    tag: 'users',
    summary: 'Give a user a password that has to be changed, and end the sessions',
    access: 'admin',
    answers: { 200: message },
    refuses: [404, ...BODY_REFUSALS],
  }),
};
