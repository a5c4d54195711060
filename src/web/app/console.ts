import { type Api, messageOf, type TopologySummary } from './api.ts';
import { create, find } from './dom.ts';
import { MutationForm } from './mutation-form.ts';
import { StreamView } from './stream-view.ts';
import { ALL_EVENTS, IDENTITIES, type StreamChoice, topologyStream } from './streams.ts';

const OTHER_STREAMS: readonly { key: string; label: string; stream: StreamChoice }[] = [
  { key: 'identities', label: 'Attacker identities', stream: IDENTITIES },
  { key: 'everything', label: 'All events', stream: ALL_EVENTS },
];

/** What one sees when signed in: a stream to choose, the stream itself, and the mutation form. */
export class Console {
  readonly #api: Api;
  readonly #root = find('console', HTMLElement);
  readonly #choice = find('stream-choice', HTMLSelectElement);
  readonly #listProblem = find('list-problem', HTMLElement);
  readonly #statusRow = find('topology-status-row', HTMLElement);
  readonly #status = find('topology-status', HTMLElement);
  readonly #view: StreamView;
  readonly #mutations: MutationForm;
  #topologies: readonly TopologySummary[] = [];
  #role: string | undefined;
  #shown: string | undefined;

  constructor(api: Api) {
    this.#api = api;
    this.#view = new StreamView(api, (status) => this.#showStatus(status));
    this.#mutations = new MutationForm(api, () => void this.#reload());
    this.#choice.addEventListener('change', () => this.#select(this.#choice.value));
    find('refresh', HTMLButtonElement).addEventListener('click', () => void this.#reload());
  }

  /** Shows the console and opens the first stream of the list. */
  async open(): Promise<void> {
    this.#root.hidden = false;
    await this.#reload();
  }

  /** Hides the console and closes its stream. */
  close(): void {
    this.#root.hidden = true;
    this.#view.stop();
    this.#shown = undefined;
    this.#topologies = [];
  }

  async #reload(): Promise<void> {
    const token = this.#api.token;
    if (token === undefined) return;
    try {
      // Not knowing the role only means that the form is offered and the server decides.
      const role = this.#api.role().catch(() => undefined);
      const [knownRole, topologies] = await Promise.all([role, this.#api.topologies()]);
      // Signed out, or in as somebody else, while the answers were under way.
      if (this.#api.token !== token) return;
      this.#role = knownRole;
      this.#topologies = topologies;
      this.#listProblem.textContent = '';
    } catch (error) {
      this.#listProblem.textContent = messageOf(error);
      if (this.#api.token !== token) return;
    }
    this.#drawChoices();
    this.#select(this.#choice.value);
  }

  #drawChoices(): void {
    const chosen = this.#choice.value;
    const topologies = create('optgroup');
    topologies.label = 'Topologies';
    topologies.append(...this.#topologies.map(({ id, name }) => new Option(name, id)));
    const others = create('optgroup');
    others.label = 'Other streams';
    others.append(...OTHER_STREAMS.map(({ key, label }) => new Option(label, key)));
    this.#choice.replaceChildren(...(this.#topologies.length > 0 ? [topologies] : []), others);
    if ([...this.#choice.options].some(({ value }) => value === chosen)) this.#choice.value = chosen;
  }

  #select(key: string): void {
    const topology = this.#topologies.find(({ id }) => id === key);
    this.#mutations.show(topology, this.#role);
    this.#statusRow.hidden = topology === undefined;
    if (topology !== undefined) this.#showStatus(topology.status);
    if (this.#shown === key) return;
    this.#shown = key;
    const other = OTHER_STREAMS.find((candidate) => candidate.key === key);
    this.#view.show(other?.stream ?? topologyStream(key));
  }

  #showStatus(status: string): void {
    this.#status.textContent = status;
    this.#status.dataset.status = status;
  }
}
