import { createEvent } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { topics } from '../bus/topic.ts';
import type { Db, Trx } from '../db/database.ts';

/** What administrators set for the whole installation, as DECNET's settings page names it (contract P4.2). */
export interface PlaneSettings {
  /** How many deckies the fleet may have. */
  readonly deployment_limit: number;
  /** How often deckies change that have no interval of their own, such as `30m`. */
  readonly global_mutation_interval: string;
}

/** Told when a setting has changed, so that every node looks. */
export const SETTINGS_CHANGED = topics.system('settings.changed');

/**
 * Settings that hold for every node from the moment they are committed: nobody keeps a copy. What has never been set is as
 * the configuration of the process says.
 */
export class Settings {
  readonly #db: Db;
  readonly #defaults: PlaneSettings;
  readonly #onCommitted: () => void;

  /** @param onCommitted called after each commit that wrote to the outbox */
  constructor(db: Db, defaults: PlaneSettings, onCommitted: () => void) {
    this.#db = db;
    this.#defaults = defaults;
    this.#onCommitted = onCommitted;
  }

  /** @param db a transaction, for what must hold until its end */
  async read(db: Db | Trx = this.#db): Promise<PlaneSettings> {
    const rows = await db.selectFrom('settings').select(['name', 'value']).execute();
    const stored = new Map(rows.map(({ name, value }) => [name, value]));
    const { deployment_limit, global_mutation_interval } = this.#defaults;
    return {
      deployment_limit: Number(stored.get('deployment_limit') ?? deployment_limit),
      global_mutation_interval: stored.get('global_mutation_interval') ?? global_mutation_interval,
    };
  }

  /** @param actor the user who sets it */
  setDeploymentLimit(limit: number, actor: string): Promise<void> {
    return this.#set('deployment_limit', String(limit), actor);
  }

  /**
   * @param interval such as `30m`
   * @param actor the user who sets it
   */
  setMutationInterval(interval: string, actor: string): Promise<void> {
    return this.#set('global_mutation_interval', interval, actor, async (trx) => {
      // When those that follow it are due is worked out anew.
      await trx.updateTable('fleet_deckies').set({ next_due_at: null }).where('mutate_interval', 'is', null).execute();
    });
  }

  async #set(
    name: keyof PlaneSettings,
    value: string,
    actor: string,
    also: (trx: Trx) => Promise<void> = async () => {},
  ): Promise<void> {
    const updated_at = new Date().toISOString();
    await this.#db.transaction().execute(async (trx) => {
      await trx
        .insertInto('settings')
        .values({ name, value, updated_at })
        .onConflict((conflict) => conflict.column('name').doUpdateSet({ value, updated_at }))
        .execute();
      await also(trx);
      await appendToOutbox(trx, [createEvent(SETTINGS_CHANGED, 'settings.changed', { name, value, actor })]);
    });
    this.#onCommitted();
  }
}
