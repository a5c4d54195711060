import Ajv2020, { type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

export interface Operation {
  readonly operationId: string;
  readonly summary?: string;
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly security?: readonly object[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly required?: boolean; readonly content: Readonly<Record<string, unknown>> };
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, unknown>> }>>;
}

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly schema?: object;
}

export interface OpenApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

export interface Located extends Operation {
  /** In capitals. */
  readonly method: string;
  /** With `{name}` for its parameters. */
  readonly path: string;
}

export async function readDocument(url: string): Promise<OpenApiDocument> {
  const response = await fetch(`${url}/openapi/json`);
  return JSON.parse(await response.text());
}

export function operationsOf({ paths }: OpenApiDocument): Located[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ ...operation, method: method.toUpperCase(), path })),
  );
}

const POINTER = '#/components/schemas/';

/** Validates values against the schemas of a document. */
export function validatorOf(document: object) {
  const ajv = new Ajv2020({ allErrors: true, strict: false });
  addFormats(ajv);
  ajv.addSchema(asStrictSchema(document), 'document');
  const compiled = new Map<string, ValidateFunction>();
  return {
    /**
     * What is wrong with a value; nothing when it matches.
     * @param pointer of the schema in the document, as names
     */
    problems(pointer: readonly (string | number)[], value: unknown): string[] {
      const ref = `document#/${pointer.map((name) => escaped(String(name))).join('/')}`;
      const validate = compiled.get(ref) ?? ajv.compile({ $ref: ref });
      compiled.set(ref, validate);
      if (validate(value)) return [];
      return (validate.errors ?? []).map(({ instancePath, message, params }) =>
        `${instancePath} ${message} ${JSON.stringify(params)}`.trim(),
      );
    },
  };
}

/** @param pointer of JSON, in a URI fragment (RFC 6901 §6) */
const escaped = (name: string) => encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1'));

/**
 * Objects are open in the document, so that fields may be added. Here one that is not described is a mistake: every object is
 * closed that does not say otherwise.
 */
function asStrictSchema(value: unknown): object {
  return JSON.parse(JSON.stringify(value), (_name, found: unknown) => {
    if (typeof found !== 'object' || found === null) return found;
    const isObject = 'type' in found && found.type === 'object' && 'properties' in found;
    return isObject && !('additionalProperties' in found) ? { ...found, additionalProperties: false } : found;
  });
}

/** Every `$ref` of a document. */
export function refsOf(document: object): string[] {
  const refs: string[] = [];
  JSON.stringify(document, (name, value: unknown) => {
    if (name === '$ref' && typeof value === 'string') refs.push(value);
    return value;
  });
  return refs;
}

export const schemaName = (ref: string) => ref.slice(POINTER.length);
