import { type Api, messageOf, type Session } from './api.ts';
import { find, onSubmit, problemOf } from './dom.ts';

/** The forms in front of the console: signing in, and replacing a password that somebody else has chosen. */
export class SignIn {
  readonly #api: Api;
  readonly #onSignedIn: (username: string, token: string) => void;
  readonly #entrance = find('entrance', HTMLElement);
  readonly #loginForm = find('login-form', HTMLFormElement);
  readonly #username = find('username', HTMLInputElement);
  readonly #password = find('password', HTMLInputElement);
  readonly #passwordForm = find('password-form', HTMLFormElement);
  /** Not shown; it tells a password manager whose password changes. */
  readonly #passwordUsername = find('password-username', HTMLInputElement);
  readonly #oldPassword = find('old-password', HTMLInputElement);
  readonly #newPassword = find('new-password', HTMLInputElement);
  #restricted: Session | undefined;

  constructor(api: Api, onSignedIn: (username: string, token: string) => void) {
    this.#api = api;
    this.#onSignedIn = onSignedIn;
    onSubmit(this.#loginForm, () => this.#attempt(this.#loginForm, () => this.#login(this.#password.value)));
    onSubmit(this.#passwordForm, () => this.#attempt(this.#passwordForm, () => this.#changePassword()));
  }

  /** @param message why the user is asked to sign in (again) */
  show(message = ''): void {
    this.#entrance.hidden = false;
    this.#showForm(this.#loginForm);
    problemOf(this.#loginForm).textContent = message;
    (this.#username.value === '' ? this.#username : this.#password).focus();
  }

  async #login(password: string): Promise<void> {
    const username = this.#username.value;
    const session = await this.#api.login(username, password);
    if (session.mustChangePassword) {
      this.#restricted = session;
      this.#showForm(this.#passwordForm);
      this.#passwordUsername.value = username;
      this.#oldPassword.value = password;
      this.#newPassword.focus();
      return;
    }
    this.#loginForm.reset();
    this.#passwordForm.reset();
    this.#entrance.hidden = true;
    this.#onSignedIn(username, session.token);
  }

  async #changePassword(): Promise<void> {
    if (this.#restricted === undefined) return;
    const password = this.#newPassword.value;
    await this.#api.changePassword(this.#restricted.token, this.#oldPassword.value, password);
    // The change ended the session that made it.
    this.#restricted = undefined;
    this.#passwordForm.reset();
    this.#showForm(this.#loginForm);
    await this.#login(password);
  }

  async #attempt(form: HTMLFormElement, action: () => Promise<void>): Promise<void> {
    problemOf(form).textContent = '';
    try {
      await action();
    } catch (error) {
      const visible = this.#loginForm.hidden ? this.#passwordForm : this.#loginForm;
      problemOf(visible).textContent = messageOf(error);
    }
  }

  #showForm(form: HTMLFormElement): void {
    this.#loginForm.hidden = form !== this.#loginForm;
    this.#passwordForm.hidden = form !== this.#passwordForm;
  }
}
