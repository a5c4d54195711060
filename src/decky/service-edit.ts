import { assertTellable, createEvent, type Event, isJsonObject, type JsonObject } from '../bus/event.ts';
import { topics } from '../bus/topic.ts';
import { AppError } from '../errors.ts';
import { KNOWN_SERVICES } from '../topology/catalog.ts';
import type { DeckyState } from '../topology/state.ts';

/** A change of what a live decky pretends to be, as data and pure functions. */
export interface ServiceEdit {
  /** True when the decky is to be made anew even though nothing that the substrate sees has changed. */
  readonly recreates: boolean;
  /** @throws {AppError} `conflict` or `not_found` when this decky cannot be changed so */
  apply(decky: DeckyState): DeckyState;
  /** What is told of it. @throws {TopicError} when the decky's name cannot be part of a topic */
  event(decky: DeckyState): Event;
}

/**
 * @throws {AppError} `invalid` for a service that nobody knows
 * @throws {EventError} for a configuration that could not be told, neither now nor later
 */
export function addService(service: string, config: JsonObject): ServiceEdit {
  if (!KNOWN_SERVICES.includes(service)) throw new AppError('invalid', `Unknown service: ${service}`);
  assertTellable(config);
  return {
    recreates: false,
    apply(decky) {
      if (decky.services.includes(service)) {
        throw new AppError('conflict', `Decky ${decky.name} has the service ${service} already`);
      }
      return configured({ ...decky, services: [...decky.services, service] }, service, config);
    },
    event: (decky) => servicesEvent(decky, 'service_added', service),
  };
}

export function removeService(service: string): ServiceEdit {
  return {
    recreates: false,
    apply(decky) {
      assertHas(decky, service);
      const services = decky.services.filter((kept) => kept !== service);
      const { [service]: _, ...configs } = configsOf(decky);
      return { ...decky, services, decky_config: { ...decky.decky_config, service_config: configs } };
    },
    event: (decky) => servicesEvent(decky, 'service_removed', service),
  };
}

/**
 * @param recreates whether the decky is made anew, so that it runs with the configuration at once
 * @throws {EventError} for a configuration that could not be told
 */
export function configureService(service: string, config: JsonObject, recreates: boolean): ServiceEdit {
  assertTellable(config);
  return {
    recreates,
    apply(decky) {
      assertHas(decky, service);
      return configured(decky, service, config);
    },
    event: ({ name, topology_id }) =>
      createEvent(topics.decky(name, 'service_config_changed'), '', {
        decky_name: name,
        service_name: service,
        topology_id,
        service_config: config,
        recreated: recreates,
      }),
  };
}

function assertHas({ name, services }: DeckyState, service: string): void {
  if (!services.includes(service)) throw new AppError('not_found', `Decky ${name} has no service ${service}`);
}

function configured(decky: DeckyState, service: string, config: JsonObject): DeckyState {
  const configs = { ...configsOf(decky), [service]: config };
  return { ...decky, decky_config: { ...decky.decky_config, service_config: configs } };
}

function configsOf({ decky_config }: DeckyState): JsonObject {
  return isJsonObject(decky_config.service_config) ? decky_config.service_config : {};
}

function servicesEvent({ name, topology_id, services }: DeckyState, type: string, service: string): Event {
  // DECNET publishes these without a type (contract §1.3).
  return createEvent(topics.decky(name, type), '', { decky_name: name, service_name: service, topology_id, services });
}
