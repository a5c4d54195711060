/**
 * The element that the page's markup has under this id.
 * @throws {Error} when the markup and the code do not fit together
 */
export function find<E extends HTMLElement>(id: string, type: abstract new () => E): E {
  const element = document.getElementById(id);
  if (element instanceof type) return element;
  throw new Error(`the page has no ${type.name} with the id ${id}`);
}

/** A new element with a class and a text; the text is never read as markup. */
export function create<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  text = '',
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className !== '') element.className = className;
  element.textContent = text;
  return element;
}

/** The place inside a form where its problems are told. */
export function problemOf(form: HTMLFormElement): Element {
  const place = form.querySelector('.problem');
  if (place === null) throw new Error(`the form ${form.id} has no place for problems`);
  return place;
}

/**
 * Runs an action at each submission of a form; its buttons rest until the action is done, so that nothing is sent twice.
 * @param action must not reject
 */
export function onSubmit(form: HTMLFormElement, action: () => Promise<void>): void {
  const buttons = form.querySelectorAll('button');
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    for (const button of buttons) button.disabled = true;
    void action().finally(() => {
      for (const button of buttons) button.disabled = false;
    });
  });
}
