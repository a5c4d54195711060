import type { DocumentDecoration, TSchema } from 'elysia';
import { t } from 'elysia';
import { ref } from './schemas.ts';

/** Chapters of the API, in the order of the document. */
export const TAGS = {
  session: 'Signing in and out, passwords, tickets for streams',
  users: 'Users and settings',
  topologies: 'Topologies: reading them, changing live ones, what became of it',
  design: 'Making topologies, editing those that are not deployed yet, deploying and taking down',
  fleet: 'Deckies outside of any topology, and services of deckies that run',
  logs: 'Lines of the deckies’ logs, and statistics',
  attackers: 'Addresses that attacked, with all that is told of them',
  identities: 'Attackers that were recognised as one',
  campaigns: 'Identities that act together',
  orchestrator: 'What keeps the deckies looking used',
  workers: 'Workers: which are heard of, stopping and starting them',
  events: 'Publishing events, and what could not be published',
  webhooks: 'Webhooks: who is told what, what was delivered, dead letters',
  streams: 'Live streams; the AsyncAPI document at /asyncapi says what is in them',
  outside: "What DECNET's dashboard asks for and this server does not have",
  health: 'Whether this process lives and can serve',
} as const;

/** Who may call a route: a gate of the table of rights, whoever is signed in by whatever streams take, or anybody. */
export type Access = 'admin' | 'viewer' | 'publish' | 'anyone' | 'stream' | 'public';

/** An answer that is told in words, with its schemas by content type where it has a body. */
export interface OtherAnswer {
  readonly note: string;
  readonly content?: Readonly<Record<string, TSchema>>;
}

/** What an answer holds: JSON of a schema, nothing, or something else. */
export type Answer = TSchema | null | OtherAnswer;

export interface Parameter {
  readonly name: string;
  readonly in: 'query' | 'header';
  readonly description: string;
  readonly required?: boolean;
  readonly schema?: TSchema;
}

export interface Description {
  readonly tag: keyof typeof TAGS;
  /** One line: what it does. */
  readonly summary: string;
  /** What else a caller has to know. */
  readonly description?: string;
  readonly access: Access;
  /** What it answers when all is well, by status. */
  readonly answers: Readonly<Record<number, Answer>>;
  /** With which statuses else it refuses; what follows from `access` and from a body is added. */
  readonly refuses?: readonly (keyof typeof REFUSALS)[];
  /** The body, of a route that reads it by hand. A route with a schema of Elysia's has it from there. */
  readonly body?: TSchema;
  /** Of the query and the header, as far as the route reads them by hand. */
  readonly parameters?: readonly Parameter[];
}

const REFUSALS = {
  400: 'Something that belongs to the request is missing or has a wrong type',
  401: 'Nobody has signed in, or the session has ended',
  403: 'The user may not do this, or has to change the password first',
  404: 'There is nothing of this name',
  409: 'It contradicts the state that is; read it again',
  413: 'The body is larger than 2 MiB',
  415: 'The body is not declared as application/json',
  422: 'A value cannot be used',
  429: 'Too often or too many; try again later',
  500: 'The server failed; its log says why',
  501: 'This server does not do that',
  502: 'What it had to ask for it has failed; the detail says how',
  503: 'The database or Redis cannot be reached, or is too busy; try again shortly',
} as const;

const SECURITY: Readonly<Record<Access, Record<string, string[]>[]>> = {
  public: [],
  viewer: [{ bearer: [] }],
  admin: [{ bearer: [] }],
  publish: [{ bearer: [] }],
  anyone: [{ bearer: [] }],
  stream: [{ bearer: [] }, { ticket: [] }, { token: [] }],
};

const WHO: Partial<Readonly<Record<Access, string>>> = {
  admin: 'Admins only.',
  publish: 'Admins only, and service accounts that may publish the topic.',
};

/**
 * The description of a route, to be spread into its third argument. Nothing of it is looked at while requests are served.
 * @param id unique; clients that are generated from the document call the operation so
 */
export function operation(id: string, description: Description): { detail: DocumentDecoration } {
  const { tag, summary, access, answers, body, parameters = [] } = description;
  const refusals = refusalsOf(description).map((status) => [status, refusal(status)]);
  return {
    detail: {
      operationId: id,
      tags: [tag],
      summary,
      ...textOf(description.description, WHO[access]),
      security: SECURITY[access],
      responses: {
        ...Object.fromEntries(refusals),
        ...Object.fromEntries(Object.entries(answers).map(([status, answer]) => [status, response(status, answer)])),
      },
      ...(body === undefined ? {} : { requestBody: { required: true, content: jsonContent(body) } }),
      ...(parameters.length === 0 ? {} : { parameters: parameters.map(parameterOf) }),
    },
  };
}

const parameterOf = ({ schema = t.String(), ...rest }: Parameter) => ({ ...rest, schema });

function textOf(...texts: readonly (string | undefined)[]) {
  const text = texts.filter(Boolean).join(' ');
  return text === '' ? {} : { description: text };
}

function refusalsOf({ access, body, refuses = [] }: Description): (keyof typeof REFUSALS)[] {
  const ofAccess = access === 'public' ? [] : ([401, 403] as const);
  const ofBody = body === undefined ? [] : BODY_REFUSALS;
  return [...new Set([...ofAccess, ...ofBody, ...refuses, ...([500, 503] as const)])];
}

/** What a route refuses that takes a body. */
export const BODY_REFUSALS = [400, 413, 415, 422] as const;

function refusal(status: keyof typeof REFUSALS) {
  const description = REFUSALS[status];
  if (status === 413) return { description };
  if (status === 415) return { description, content: { 'text/plain': { schema: t.String() } } };
  return { description, content: jsonContent(REFUSAL_BODIES[status] ?? ref('Error')) };
}

const REFUSAL_BODIES: Readonly<Record<number, TSchema>> = {
  429: t.Union([ref('RateLimited'), ref('Error')]),
  500: ref('ServerError'),
};

const ANSWERS: Readonly<Record<string, string>> = {
  200: 'Done',
  201: 'Made',
  202: 'Taken; what becomes of it comes as an event',
  204: 'Done; there is nothing to say',
};

function response(status: string, answer: Answer) {
  const description = ANSWERS[status] ?? 'As described';
  if (answer === null) return { description };
  if (!isOther(answer)) return { description, content: jsonContent(answer) };
  const { note, content = {} } = answer;
  const types = Object.entries(content).map(([type, schema]) => [type, { schema }]);
  return { description: note, ...(types.length === 0 ? {} : { content: Object.fromEntries(types) }) };
}

function isOther(answer: TSchema | OtherAnswer): answer is OtherAnswer {
  return 'note' in answer;
}

const jsonContent = (schema: TSchema) => ({ 'application/json': { schema } });
