import { Elysia } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import { isJsonObject, type JsonObject } from '../bus/event.ts';
import { AppError } from '../errors.ts';
import { BodyFields } from '../http/body-fields.ts';
import type { DeckyState } from '../topology/state.ts';
import { editServices, type LiveServiceParts } from './live-services.ts';
import { serviceOperations } from './schemas.ts';
import { addService, configureService, removeService, type ServiceEdit } from './service-edit.ts';

export interface ServiceRouteParts extends LiveServiceParts {
  readonly authenticator: HeaderAuthenticator;
}

const DECKY = '/topologies/:id/deckies/:decky/services';
const MAX_SERVICE_NAME = 64;

/** Services of deckies that run (contract §5.9). */
export function serviceRoutes({ authenticator, ...parts }: ServiceRouteParts) {
  const edit = (params: { id: string; decky: string }, change: ServiceEdit) =>
    editServices(parts, { topologyId: params.id, name: params.decky }, change);
  return new Elysia({ name: 'service-routes' })
    .use(guard(authenticator, 'admin'))
    .post(
      DECKY,
      async ({ params, body, set }) => {
        const decky = await edit(params, additionIn(body));
        set.status = 201;
        return servicesOnWire(decky);
      },
      serviceOperations.add,
    )
    .delete(
      `${DECKY}/:service`,
      async ({ params }) => servicesOnWire(await edit(params, removeService(params.service))),
      serviceOperations.remove,
    )
    .put(
      `${DECKY}/:service/config`,
      async ({ params, body }) => {
        const config = configIn(body);
        const decky = await edit(params, configureService(params.service, config, false));
        return configOnWire(decky, params.service, config, false);
      },
      serviceOperations.configure,
    )
    .post(
      `${DECKY}/:service/apply`,
      async ({ params, body }) => {
        const config = configIn(body);
        const decky = await edit(params, configureService(params.service, config, true));
        return configOnWire(decky, params.service, config, true);
      },
      serviceOperations.apply,
    );
}

function additionIn(body: unknown): ServiceEdit {
  const fields = new BodyFields(body);
  const name = fields.text('name', { min: 1, max: MAX_SERVICE_NAME });
  return addService(name, checkedConfig(fields, body));
}

function configIn(body: unknown): JsonObject {
  const fields = new BodyFields(body);
  if (!fields.has('config')) throw new AppError('bad_request', 'config is required');
  return checkedConfig(fields, body);
}

/** Null is no configuration: it must not wipe one out. */
function checkedConfig(fields: BodyFields, body: unknown): JsonObject {
  if (isJsonObject(body) && body.config === null) fields.refuse('config must be a JSON object');
  const config = fields.object('config');
  fields.check();
  return config;
}

function servicesOnWire({ name, topology_id, services }: DeckyState) {
  return { decky_name: name, topology_id, services };
}

function configOnWire({ name, topology_id }: DeckyState, service: string, config: JsonObject, recreated: boolean) {
  return { decky_name: name, service_name: service, topology_id, config, recreated };
}
