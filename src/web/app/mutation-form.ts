import { type Api, ApiError, messageOf, type TopologySummary } from './api.ts';
import { create, find, onSubmit } from './dom.ts';
import { isRecord, parseJson } from './json.ts';
import { examplePayload, MUTATION_OPS, type MutationOp, type TopologyNames } from './mutations.ts';

const NO_NAMES: TopologyNames = { deckies: [], lans: [] };

/** The form that asks for a change of the topology that is shown. */
export class MutationForm {
  readonly #api: Api;
  readonly #onStale: () => void;
  readonly #form = find('mutation-form', HTMLFormElement);
  readonly #closed = find('mutation-closed', HTMLElement);
  readonly #op = find('op', HTMLSelectElement);
  readonly #payload = find('payload', HTMLTextAreaElement);
  readonly #withVersion = find('with-version', HTMLInputElement);
  readonly #knownVersion = find('known-version', HTMLElement);
  readonly #result = find('mutation-result', HTMLElement);
  #topology: TopologySummary | undefined;
  #version = 0;
  #names = NO_NAMES;
  /** What the form itself has put into the payload; anything else there is the user's. */
  #example = '';

  /** @param onStale called when the server says that the topology has changed in the meantime */
  constructor(api: Api, onStale: () => void) {
    this.#api = api;
    this.#onStale = onStale;
    for (const op of MUTATION_OPS) {
      const option = create('option', '', op);
      option.value = op;
      this.#op.append(option);
    }
    this.#op.addEventListener('change', () => this.#fillIn('always'));
    onSubmit(this.#form, () => this.#enqueue());
  }

  /**
   * Opens the form for a topology.
   * @param role of who is signed in; `undefined` when it is not known, then the server decides
   */
  show(topology: TopologySummary | undefined, role: string | undefined): void {
    const changed = topology?.id !== this.#topology?.id;
    this.#topology = topology;
    const closed = closedBecause(topology, role);
    this.#closed.textContent = closed;
    this.#closed.hidden = closed === '';
    this.#form.hidden = closed !== '';
    if (topology === undefined) return;
    // A list that was asked for before the last mutation must not turn the version back.
    this.#setVersion(changed ? topology.version : Math.max(this.#version, topology.version));
    if (!changed) return;
    this.#result.textContent = '';
    this.#names = NO_NAMES;
    this.#fillIn('always');
    if (closed === '') void this.#learnNames(topology);
  }

  async #learnNames(topology: TopologySummary): Promise<void> {
    try {
      const names = await this.#api.topologyNames(topology.id);
      if (this.#topology?.id !== topology.id) return;
      this.#names = names;
      this.#fillIn('unless-edited');
    } catch (error) {
      this.#say(messageOf(error));
    }
  }

  #fillIn(when: 'always' | 'unless-edited'): void {
    const edited = this.#payload.value !== this.#example;
    if (edited && when === 'unless-edited') return;
    const suffix = Math.random().toString(36).slice(2, 6);
    this.#example = JSON.stringify(examplePayload(this.#selectedOp(), this.#names, suffix), null, 2);
    this.#payload.value = this.#example;
  }

  async #enqueue(): Promise<void> {
    const topology = this.#topology;
    if (topology === undefined) return;
    const payload = parseJson(this.#payload.value);
    if (!isRecord(payload)) {
      this.#say('The payload is not a JSON object, such as {"decky": "web-1"}.');
      return;
    }
    const expected = this.#withVersion.checked ? this.#version : undefined;
    try {
      const { mutationId, state } = await this.#api.enqueue(topology.id, this.#selectedOp(), payload, expected);
      // Only a request that names a version raises it, by one (contract §5.4).
      if (expected !== undefined && this.#topology?.id === topology.id) this.#setVersion(expected + 1);
      this.#say(`Accepted as ${state}: mutation ${mutationId}`);
    } catch (error) {
      this.#say(messageOf(error));
      if (error instanceof ApiError && error.status === 409) this.#onStale();
    }
  }

  #selectedOp(): MutationOp {
    return MUTATION_OPS.find((op) => op === this.#op.value) ?? MUTATION_OPS[0];
  }

  #setVersion(version: number): void {
    this.#version = version;
    this.#knownVersion.textContent = String(version);
  }

  #say(text: string): void {
    this.#result.textContent = text;
  }
}

function closedBecause(topology: TopologySummary | undefined, role: string | undefined): string {
  if (topology === undefined) return 'Choose a topology above to change it.';
  if (role !== undefined && role !== 'admin')
    return 'You are signed in as a viewer; only an admin can change a topology.';
  return '';
}
