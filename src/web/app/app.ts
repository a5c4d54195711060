import { Api } from './api.ts';
import { Console } from './console.ts';
import { find } from './dom.ts';
import { SignIn } from './sign-in.ts';

// Session storage: for this tab only, and gone when it closes.
const STORED_TOKEN = 'decnet-live.token';
const STORED_NAME = 'decnet-live.user';

const api = new Api(() => signedOut('Your session has ended. Please sign in again.'));
const page = new Console(api);
const signIn = new SignIn(api, signedIn);
const who = find('who', HTMLElement);
const userName = find('user-name', HTMLElement);

function signedIn(username: string, token: string): void {
  sessionStorage.setItem(STORED_TOKEN, token);
  sessionStorage.setItem(STORED_NAME, username);
  enter(username, token);
}

function enter(username: string, token: string): void {
  api.token = token;
  userName.textContent = username;
  who.hidden = false;
  void page.open();
}

function signedOut(message?: string): void {
  api.token = undefined;
  sessionStorage.removeItem(STORED_TOKEN);
  sessionStorage.removeItem(STORED_NAME);
  who.hidden = true;
  page.close();
  signIn.show(message);
}

async function signOut(): Promise<void> {
  // Also without an answer this page forgets the session.
  await api.logout().catch(() => undefined);
  if (api.token !== undefined) signedOut();
}

find('sign-out', HTMLButtonElement).addEventListener('click', () => void signOut());

const storedToken = sessionStorage.getItem(STORED_TOKEN);
if (storedToken === null) signIn.show();
else enter(sessionStorage.getItem(STORED_NAME) ?? '', storedToken);
