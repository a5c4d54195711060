import { Elysia } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import { isJsonObject, type JsonObject } from '../bus/event.ts';
import { AppError } from '../errors.ts';
import { BodyFields } from '../http/body-fields.ts';
import { deckyNameIn } from './decky-name.ts';
import { editFleetServices } from './fleet-services.ts';
import { editServices, type LiveServiceParts } from './live-services.ts';
import { RepeatedAdditions } from './repeated-additions.ts';
import { fleetServiceOperations, serviceOperations } from './schemas.ts';
import {
  addService,
  type Configured,
  configureService,
  removeService,
  type ServiceEdit,
  type ServiceSetting,
  serviceSetting,
} from './service-edit.ts';

export interface ServiceRouteParts extends LiveServiceParts {
  readonly authenticator: HeaderAuthenticator;
}

const OF_TOPOLOGY = '/topologies/:id/deckies/:decky/services';
const OF_FLEET = '/deckies/:name/services';
const SERVICE = /^[a-z0-9_-]{1,64}$/;
const MAX_SERVICE_NAME = 64;

/** Services of deckies that run, of a topology and of the fleet (contract §5.9, P2.2). */
export function serviceRoutes({ authenticator, ...parts }: ServiceRouteParts) {
  return new Elysia({ name: 'service-routes' })
    .use(
      editRoutes(OF_TOPOLOGY, authenticator, serviceOperations, ({ id = '', decky = '' }, edit) =>
        editServices(parts, { topologyId: id, name: deckyNameIn(decky) }, edit),
      ),
    )
    .use(
      editRoutes(OF_FLEET, authenticator, fleetServiceOperations, ({ name = '' }, edit) =>
        editFleetServices(parts, deckyNameIn(name), edit),
      ),
    );
}

type Params = Readonly<Record<string, string>>;

/** @param carryOut applies an edit to the decky that a path names */
function editRoutes(
  path: string,
  authenticator: HeaderAuthenticator,
  operations: typeof serviceOperations,
  carryOut: (params: Params, edit: ServiceEdit) => Promise<Configured>,
) {
  const additions = new RepeatedAdditions();
  return new Elysia()
    .use(guard(authenticator, 'admin'))
    .post(
      path,
      async ({ params, body, headers, principal, set }) => {
        const addition = additionIn(body);
        const add = () => carryOut(params, addService(addition));
        const key = JSON.stringify([principal.jti, params, addition]);
        // Only browsers say where they come from, and only a page sends it twice without having meant to.
        const decky = await (headers.origin === undefined ? add() : additions.add(key, add));
        set.status = 201;
        return servicesOnWire(decky);
      },
      operations.add,
    )
    .delete(
      `${path}/:service`,
      async ({ params }) => servicesOnWire(await carryOut(params, removeService(serviceIn(params)))),
      operations.remove,
    )
    .put(
      `${path}/:service/config`,
      async ({ params, body }) => {
        const setting = serviceSetting(serviceIn(params), configIn(body));
        return configOnWire(await carryOut(params, configureService(setting, false)), setting.service, false);
      },
      operations.configure,
    )
    .post(
      `${path}/:service/apply`,
      async ({ params, body, set }) => {
        const setting = serviceSetting(serviceIn(params), configIn(body));
        const decky = await carryOut(params, configureService(setting, true));
        set.status = 201;
        return configOnWire(decky, setting.service, true);
      },
      operations.apply,
    );
}

function serviceIn({ service = '' }: Params): string {
  if (SERVICE.test(service)) return service;
  throw new AppError('invalid', 'a service name is 1 to 64 of a-z, 0-9, _ and -');
}

function additionIn(body: unknown): ServiceSetting {
  const fields = new BodyFields(body);
  const name = fields.text('name', { min: 1, max: MAX_SERVICE_NAME });
  return serviceSetting(name, checkedConfig(fields, body));
}

const configIn = (body: unknown): JsonObject => checkedConfig(new BodyFields(body), body);

/** Null is no configuration: it must not wipe one out. */
function checkedConfig(fields: BodyFields, body: unknown): JsonObject {
  if (isJsonObject(body) && body.config === null) fields.refuse('config must be a JSON object');
  const config = fields.object('config');
  fields.check();
  return config;
}

function servicesOnWire({ name, topology_id, services }: Configured) {
  return { decky_name: name, topology_id, services };
}

/** The configuration as it has been stored: the form shows it. */
function configOnWire({ name, topology_id, configs }: Configured, service: string, recreated: boolean) {
  return { decky_name: name, service_name: service, topology_id, config: configs[service] ?? {}, recreated };
}
