import type { ElysiaOpenAPIConfig } from '@elysiajs/openapi';
import { OWN_PARAMETERS, TAGS } from '../http/operation.ts';
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
interface GeneratedDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, GeneratedOperation>>>>;
  readonly components: object;
}

interface GeneratedOperation {
  readonly parameters?: readonly GeneratedParameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, unknown>> };
  readonly [OWN_PARAMETERS]?: readonly GeneratedParameter[];
}

interface GeneratedParameter {
  readonly schema?: GeneratedSchema;
}

interface GeneratedSchema {
  readonly type?: string;
  readonly format?: string;
  readonly anyOf?: readonly GeneratedSchema[];
}

/**
 * Puts right what the generator cannot know: bodies are JSON and nothing else here, a number in the query is a number and
 * not also a text that looks like one, and what a route reads of the query by hand belongs to its parameters. Adds the shared
 * schemas.
 */
export function corrected<Document extends GeneratedDocument>(document: Document): Document {
  const paths = mapValues(document.paths, (operations) => mapValues(operations, correctedOperation));
  return { ...document, paths, components: { ...document.components, schemas: models } };
}

function correctedOperation({ [OWN_PARAMETERS]: own = [], ...operation }: GeneratedOperation): GeneratedOperation {
  const parameters = [...(operation.parameters ?? []).map(correctedParameter), ...own];
  const { requestBody } = operation;
  const json = requestBody?.content['application/json'];
  return {
    ...operation,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(requestBody === undefined || json === undefined
      ? {}
      : { requestBody: { ...requestBody, content: { 'application/json': json } } }),
  };
}

/** Elysia's numbers of a query are a union of text and number; whoever writes a client wants the number. */
function correctedParameter({ schema, ...parameter }: GeneratedParameter): GeneratedParameter {
  const plain = schema?.anyOf?.filter(({ type, format }) => type !== 'string' || format === undefined);
  const [only] = plain ?? [];
  if (schema === undefined || only === undefined || plain?.length !== 1)
    return { ...parameter, ...(schema && { schema }) };
  const { anyOf: _, ...rest } = schema;
  return { ...parameter, schema: { ...rest, ...only } };
}

function mapValues<From, To>(record: Readonly<Record<string, From>>, map: (value: From) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value)]));
}
