/** What Eden's clients are typed by: `treaty<App>(url)`. Types only: nothing of the server comes with it. */
export type { Api as App } from './main.ts';
