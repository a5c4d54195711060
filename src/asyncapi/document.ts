import type { TSchema } from 'elysia';
import { t } from 'elysia';
import { ROLES } from '../auth/principal.ts';
import { mayUse } from '../auth/rights.ts';
import { LOG_CHANNEL } from '../bus/channel.ts';
import { matchesAny } from '../bus/topic.ts';
import { models } from '../openapi/models.ts';
import type { StreamDeclaration } from '../stream/declaration.ts';
import { cursor, eventData, PROTOCOL_FRAMES } from '../stream/schemas.ts';
import { WS_CODES } from '../ws/ws-codes.ts';
import { CLIENT_MESSAGES, END_MESSAGE, frameSid, PART_MESSAGE, SERVER_MESSAGES } from '../ws/ws-schemas.ts';
import { type TopicFamily, topicFamilies } from './topics.ts';

/** A message of AsyncAPI. */
interface Message {
  readonly name: string;
  readonly summary: string;
  readonly contentType: string;
  readonly headers?: TSchema;
  readonly payload: TSchema;
}

const JSON_TYPE = 'application/json';
const PROTOCOL = Object.entries(PROTOCOL_FRAMES);
const constant = (value: string) => t.Unsafe<string>({ const: value });
const refTo = (path: string) => ({ $ref: `#/${path}` });
const SERVER_VARIABLES = { host: { default: '127.0.0.1:8000', description: 'Where the node listens' } };

/**
 * The AsyncAPI 3 document of what streams, the WebSocket and topics carry: made of the tables that the code itself runs on.
 * @param declarations every stream that is served
 */
export function asyncapiDocument(declarations: readonly StreamDeclaration[]) {
  const families = topicFamilies();
  const document = {
    asyncapi: '3.0.0',
    info: {
      title: 'decnet-live',
      version: '1',
      description: 'What streams, the WebSocket bridge and topics carry. The calls of the API are at /openapi.',
    },
    defaultContentType: JSON_TYPE,
    servers: {
      http: { host: '{host}', protocol: 'http', pathname: '/api/v1', variables: SERVER_VARIABLES },
      ws: { host: '{host}', protocol: 'ws', pathname: '/api/v1', variables: SERVER_VARIABLES },
    },
    channels: {
      ...Object.fromEntries(declarations.map((declaration) => [streamId(declaration), streamChannel(declaration)])),
      socket: socketChannel(declarations),
      ...Object.fromEntries(families.map((family) => [topicId(family), topicChannel(family, declarations)])),
    },
    operations: {
      ...Object.fromEntries(declarations.map((declaration) => [`send-${streamId(declaration)}`, sending(declaration)])),
      'receive-socket': receiving('socket', 'What a client may say', Object.keys(clientMessages())),
      'send-socket': {
        action: 'send',
        channel: refTo('channels/socket'),
        summary: 'What the server says',
        messages: Object.keys(serverMessages(declarations)).map((name) => refTo(`channels/socket/messages/${name}`)),
      },
      ...Object.fromEntries(
        families.map((family) => [
          `receive-${topicId(family)}`,
          receiving(topicId(family), 'Producers publish it', ['event']),
        ]),
      ),
    },
  };
  return { ...document, components: { schemas: namedIn(document) } };
}

// --- streams -----------------------------------------------------------------------------------------------------------

const streamId = ({ name }: Pick<StreamDeclaration, 'name'>) => `stream-${name}`;

function streamChannel(declaration: StreamDeclaration) {
  const { path, summary } = declaration;
  return {
    address: path.replace(/:(\w+)/g, '{$1}'),
    ...(summary === undefined ? {} : { summary }),
    description: 'Server-sent events. The headers of a message are the fields id and event of its frame.',
    servers: [refTo('servers/http')],
    ...parametersOf(path.match(/(?<=:)\w+/g) ?? []),
    messages: streamMessages(declaration),
    'x-topics': declaration.topics,
  };
}

function streamMessages({ snapshot, snapshotSchema }: StreamDeclaration): Record<string, Message> {
  const frames = framesOf(snapshot !== undefined, snapshotSchema);
  const own = frames.map(([name, summary, payload]) => [
    name,
    message(name, summary, payload, headersOf(constant(name))),
  ]);
  const event = message('event', 'An event; its name depends on the topic', eventData, headersOf(t.String()));
  return { ...Object.fromEntries(own), event };
}

/** The frames of the protocol that a stream may have. */
function framesOf(hasSnapshot: boolean, snapshotSchema: TSchema | undefined): [string, string, TSchema][] {
  const all: [string, string, TSchema][] = PROTOCOL.map(([name, { summary, data }]) => [name, summary, data]);
  if (!hasSnapshot) return all;
  const snapshot: [string, string, TSchema] = ['snapshot', 'The state at this id', snapshotSchema ?? t.Unknown()];
  return [snapshot, ...all.filter(([name]) => name !== 'ready')];
}

const headersOf = (event: TSchema) => t.Object({ id: t.Optional(cursor), event: t.Optional(event) });

function sending(declaration: StreamDeclaration) {
  const channel = `channels/${streamId(declaration)}`;
  return {
    action: 'send',
    channel: refTo(channel),
    messages: Object.keys(streamMessages(declaration)).map((name) => refTo(`${channel}/messages/${name}`)),
  };
}

// --- the WebSocket -----------------------------------------------------------------------------------------------------

function socketChannel(declarations: readonly StreamDeclaration[]) {
  return {
    address: '/ws',
    summary: 'Many streams on one socket, and publishing',
    description: 'Text messages, each a JSON object.',
    servers: [refTo('servers/ws')],
    messages: { ...clientMessages(), ...serverMessages(declarations) },
    bindings: { ws: { method: 'GET', bindingVersion: '0.1.0' } },
    'x-codes': WS_CODES,
  };
}

function clientMessages(): Record<string, Message> {
  return Object.fromEntries(
    Object.entries(CLIENT_MESSAGES).map(([op, { summary, schema }]) => [`client-${op}`, message(op, summary, schema)]),
  );
}

function serverMessages(declarations: readonly StreamDeclaration[]): Record<string, Message> {
  const said = Object.entries(SERVER_MESSAGES).map(([name, { summary, schema }]) => [
    `server-${name}`,
    message(name, summary, schema),
  ]);
  const frame = (name: string, event: TSchema, data: TSchema) =>
    t.Object({ ...frameSid, event: name === '' ? t.Optional(event) : event, id: t.Optional(cursor), data });
  const protocol = PROTOCOL.map(([name, { summary, data }]) => [
    `frame-${name}`,
    message(name, summary, frame(name, constant(name), data)),
  ]);
  const snapshots = declarations
    .filter(({ snapshot }) => snapshot !== undefined)
    .map(({ name, snapshotSchema = t.Unknown() }) => [
      `frame-snapshot-${name}`,
      message('snapshot', `The state of the stream ${name}`, frame('snapshot', constant('snapshot'), snapshotSchema)),
    ]);
  return {
    ...Object.fromEntries([...said, ...protocol, ...snapshots]),
    'frame-event': message('event', 'An event of a stream', frame('', t.String(), eventData)),
    'frame-end': message('end', END_MESSAGE.summary, END_MESSAGE.schema),
    'frame-part': message('part', PART_MESSAGE.summary, PART_MESSAGE.schema),
  };
}

// --- topics ------------------------------------------------------------------------------------------------------------

const topicId = ({ name }: Pick<TopicFamily, 'name'>) => `topic-${name}`;

function topicChannel(family: TopicFamily, declarations: readonly StreamDeclaration[]) {
  const { address, summary, parameters, channels } = family;
  return {
    address,
    summary,
    ...parametersOf(parameters),
    messages: { event: message('event', summary, eventData) },
    'x-log-channels': [...channels, LOG_CHANNEL],
    'x-streams': Object.fromEntries(
      declarations
        .map(({ name, topics }) => [name, rolesShown(topics, address)] as const)
        .filter(([, roles]) => roles.length > 0),
    ),
  };
}

/** The roles to which a stream shows a topic. Service accounts see what they were given of it. */
function rolesShown(topics: StreamDeclaration['topics'], topic: string): string[] {
  if (!matchesAny(topics, topic)) return [];
  return ROLES.filter((role) => mayUse({ role }, 'subscribe')(topic));
}

// --- parts -------------------------------------------------------------------------------------------------------------

function message(name: string, summary: string, payload: TSchema, headers?: TSchema): Message {
  return { name, summary, contentType: JSON_TYPE, ...(headers === undefined ? {} : { headers }), payload };
}

function receiving(channel: string, summary: string, messages: readonly string[]) {
  return {
    action: 'receive',
    channel: refTo(`channels/${channel}`),
    summary,
    messages: messages.map((name) => refTo(`channels/${channel}/messages/${name}`)),
  };
}

function parametersOf(names: readonly string[]) {
  if (names.length === 0) return {};
  return { parameters: Object.fromEntries(names.map((name) => [name, { description: `The ${name}` }])) };
}

const SCHEMA_REF = /"#\/components\/schemas\/(\w+)"/g;

/** The shared schemas that a document names, and those that they name. */
function namedIn(document: object): Record<string, TSchema> {
  const named = new Map<string, TSchema>();
  const texts = [JSON.stringify(document)];
  for (const text of texts) {
    for (const [, name = ''] of text.matchAll(SCHEMA_REF)) {
      const schema = Object.entries(models).find(([known]) => known === name)?.[1];
      if (schema === undefined) throw new Error(`no shared schema is named ${name}`);
      if (named.has(name)) continue;
      named.set(name, schema);
      texts.push(JSON.stringify(schema));
    }
  }
  return Object.fromEntries(named);
}
