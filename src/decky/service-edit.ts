import { assertReportable, createEvent, type Event, type JsonObject } from '../bus/event.ts';
import { topics } from '../bus/topic.ts';
import { validConfig } from '../catalog/service-config.ts';
import { type Service, serviceNamed } from '../catalog/services.ts';
import { AppError } from '../errors.ts';

/** A decky as far as its services go, of a topology or of the fleet. */
export interface Configured {
  readonly name: string;
  readonly topology_id: string | null;
  readonly services: readonly string[];
  /** Service → its configuration; one without any has none. */
  readonly configs: JsonObject;
}

/** A change of what a decky pretends to be, as data and pure functions. */
export interface ServiceEdit {
  /** True when the decky is to be made anew even though nothing that the substrate sees has changed. */
  readonly recreates: boolean;
  /** @throws {AppError} `conflict` when this decky cannot be changed so */
  apply(decky: Configured): Configured;
  /** What is told of it. @throws {TopicError} when the decky's name cannot be part of a topic */
  event(decky: Configured): Event;
}

/** What was to be added is on the decky. */
export class ServiceIsThere extends AppError {
  constructor(decky: string, service: string) {
    super('conflict', `Decky ${decky} has the service ${service} already`);
  }
}

/** A service with its configuration as the service takes it. */
export interface ServiceSetting {
  readonly service: string;
  readonly config: JsonObject;
}

/**
 * Checks what somebody wants a decky to run.
 * @throws {AppError} `invalid` for a service that nobody knows or that no decky runs; `bad_request` for a configuration
 *   that it does not take
 * @throws {EventError} for a configuration that could not be told, neither now nor later
 */
export function serviceSetting(name: string, config: JsonObject): ServiceSetting {
  const valid = validConfig(runnable(name), config);
  assertReportable(valid);
  return { service: name, config: valid };
}

function runnable(name: string): Service {
  const service = serviceNamed(name);
  if (service === undefined) throw new AppError('invalid', `Unknown service: ${name}`);
  if (!service.fleet_singleton) return service;
  throw new AppError('invalid', `${name} runs once for the whole fleet, never on one decky`);
}

export function addService({ service, config }: ServiceSetting): ServiceEdit {
  return {
    recreates: false,
    apply(decky) {
      if (decky.services.includes(service)) throw new ServiceIsThere(decky.name, service);
      return withConfig({ ...decky, services: [...decky.services, service] }, service, config);
    },
    event: (decky) => servicesEvent(decky, 'service_added', service),
  };
}

/** Its configuration goes with it: what a decky does not run must not be configured (contract §5.6). */
export function removeService(service: string): ServiceEdit {
  return {
    recreates: false,
    apply(decky) {
      assertHas(decky, service);
      const services = decky.services.filter((kept) => kept !== service);
      return withConfig({ ...decky, services }, service, {});
    },
    event: (decky) => servicesEvent(decky, 'service_removed', service),
  };
}

/** @param recreates whether the decky is made anew, so that it runs with the configuration at once */
export function configureService({ service, config }: ServiceSetting, recreates: boolean): ServiceEdit {
  return {
    recreates,
    apply(decky) {
      assertHas(decky, service);
      return withConfig(decky, service, config);
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

function assertHas({ name, services }: Configured, service: string): void {
  if (!services.includes(service)) throw new AppError('conflict', `Decky ${name} has no service ${service}`);
}

/** An empty configuration is none. */
function withConfig(decky: Configured, service: string, config: JsonObject): Configured {
  const { [service]: _, ...others } = decky.configs;
  return { ...decky, configs: Object.keys(config).length === 0 ? others : { ...others, [service]: config } };
}

function servicesEvent({ name, topology_id, services }: Configured, type: string, service: string): Event {
  // DECNET publishes these without a type (contract §1.3).
  return createEvent(topics.decky(name, type), '', { decky_name: name, service_name: service, topology_id, services });
}
