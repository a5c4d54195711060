import type { ElysiaOpenAPIConfig } from '@elysiajs/openapi';
import { TAGS } from '../http/operation.ts';
import { models } from './models.ts';

type OpenAPIDocumentation = ElysiaOpenAPIConfig['documentation'];

/** What the document says beside the routes. */
export const documentation = {
  info: {
    title: 'decnet-live',
    version: '1',
    description: 'The live event plane of a DECNET deception network. What streams and sockets carry: /asyncapi.',
  },
  tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
  components: {
    securitySchemes: {
      bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'From POST /api/v1/auth/login' },
      ticket: {
        type: 'apiKey',
        in: 'query',
        name: 'ticket',
        description: 'For one stream, from POST /api/v1/auth/sse-ticket',
      },
      token: {
        type: 'apiKey',
        in: 'query',
        name: 'token',
        description: 'The JWT in the query of a stream, unless DECNET_SSE_QUERY_TOKEN is off',
      },
    },
  },
} satisfies OpenAPIDocumentation;

/** Of what the generator makes, the part that is put right here. */
export interface GeneratedDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, GeneratedOperation>>>>;
  readonly components: object;
}

interface GeneratedOperation {
  readonly parameters?: readonly GeneratedParameter[];
  readonly requestBody?: object;
}

interface GeneratedParameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly schema?: GeneratedSchema;
}

interface GeneratedSchema {
  readonly type?: string;
  readonly format?: string;
  readonly default?: unknown;
  readonly anyOf?: readonly GeneratedSchema[];
}

interface BodySchema {
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, { readonly default?: unknown }>>;
}

/** What of a route is asked for here: Elysia's own type of its hooks says `any`. */
export interface Route {
  readonly method: string;
  readonly path: string;
  readonly hooks?: {
    readonly body?: BodySchema;
    /** A schema that Elysia would hold answers to; no route has one. */
    readonly response?: unknown;
    readonly detail?: { readonly parameters?: readonly GeneratedParameter[] };
  };
}

/**
 * Puts right what the generator does not know: bodies are JSON (our own parser makes it leave their schemas out), a number in the
 * query is a number and not also a text that looks like one, and what a route reads of the query by hand belongs to its
 * parameters. Adds the shared schemas.
 */
export function corrected<Document extends GeneratedDocument>(document: Document, routes: readonly Route[]): Document {
  const byPlace = new Map(routes.map((route) => [placeOf(route.method, templated(route.path)), route]));
  const paths = mapValues(document.paths, (operations, path) =>
    mapValues(operations, (operation, method) => correctedOperation(operation, byPlace.get(placeOf(method, path)))),
  );
  return { ...document, paths, components: { ...document.components, schemas: models } };
}

/** How a schema of Elysia's says that its value may be left out; no name of JSON Schema says so. */
const OPTIONAL = Symbol.for('TypeBox.Optional');

const placeOf = (method: string, path: string) => `${method.toUpperCase()} ${path}`;

const templated = (path: string) => path.replace(/:([^/]+)/g, '{$1}');

function correctedOperation(operation: GeneratedOperation, route: Route | undefined): GeneratedOperation {
  const { body, detail } = route?.hooks ?? {};
  // The generator replaces what the description says by what it finds in the path and the schema of the query.
  const own = detail?.parameters ?? [];
  const found = (operation.parameters ?? []).filter(({ name }) => own.every((parameter) => parameter.name !== name));
  const parameters = [...found.map(correctedParameter), ...own];
  return {
    ...operation,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: !(OPTIONAL in body), content: { 'application/json': { schema: asSent(body) } } } }),
  };
}

/** What has a default need not be sent: Elysia fills it in, and asks for it only then. */
function asSent({ required = [], ...schema }: BodySchema): BodySchema {
  const asked = required.filter((name) => schema.properties?.[name]?.default === undefined);
  return asked.length === 0 ? schema : { ...schema, required: asked };
}

/** Elysia's numbers of a query are a union of text and number; whoever writes a client wants the number. */
function correctedParameter({ schema, ...parameter }: GeneratedParameter): GeneratedParameter {
  const plain = schema?.anyOf?.filter(({ type, format }) => type !== 'string' || format === undefined) ?? [];
  const [only] = plain;
  if (schema === undefined || only === undefined || plain.length > 1)
    return { ...parameter, ...(schema && { schema }) };
  const { anyOf: _, ...rest } = schema;
  return {
    ...parameter,
    required: only.default === undefined && parameter.required === true,
    schema: { ...rest, ...only },
  };
}

function mapValues<From, To>(
  record: Readonly<Record<string, From>>,
  map: (value: From, key: string) => To,
): Record<string, To> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value, key)]));
}
