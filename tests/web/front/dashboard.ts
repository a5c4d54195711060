import type { Browser, BrowserContext } from 'playwright-core';
import { until } from '../../support/until.ts';
import type { Front } from './fronts.ts';

/** What page.html knows of one of its streams. */
export interface Seen {
  /** `EventSource.readyState`: 1 is open, 2 has given up. */
  readonly state: number;
  readonly opened: number;
  readonly errors: number;
  readonly frames: readonly { readonly name: string; readonly data: Data; readonly id: string }[];
}

interface Data {
  readonly payload?: Readonly<Record<string, unknown>>;
}

export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: a page reads whatever there is, and a test says what that has to be
  readonly body: any;
}

/** A browser of its own on the page that a front gives. */
export class Dashboard {
  readonly #context: BrowserContext;
  readonly #call: <T>(name: string, args: readonly unknown[]) => Promise<T>;

  private constructor(context: BrowserContext, call: <T>(name: string, args: readonly unknown[]) => Promise<T>) {
    this.#context = context;
    this.#call = call;
  }

  static async open(browser: Browser, { url }: Pick<Front, 'url'>): Promise<Dashboard> {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(url);
    return new Dashboard(context, (name, args) =>
      page.evaluate(`dashboard.${name}(...${JSON.stringify(args.map((arg) => arg ?? null))})`),
    );
  }

  close(): Promise<void> {
    return this.#context.close();
  }

  signIn(username: string, password: string): Promise<number> {
    return this.#call('signIn', [username, password]);
  }

  isSignedIn(): Promise<boolean> {
    return this.#call('isSignedIn', []);
  }

  ask(method: string, path: string, body?: object): Promise<Answer> {
    return this.#call('ask', body === undefined ? [method, path] : [method, path, body]);
  }

  /** @returns the number of a stream that is opened anew, with another ticket, whenever it ends */
  follow(path: string, names: readonly string[]): Promise<number> {
    return this.#call('follow', [path, names]);
  }

  /** @returns the number of a stream that is left to the browser */
  keep(path: string, names: readonly string[]): Promise<number> {
    return this.#call('keep', [path, names]);
  }

  look(stream: number): Promise<Seen> {
    return this.#call('look', [stream]);
  }

  leave(stream: number): Promise<void> {
    return this.#call('leave', [stream]);
  }

  /** Waits for something that a stream shows. */
  async untilSeen(what: string, stream: number, holds: (seen: Seen) => boolean): Promise<Seen> {
    return until(what, async () => {
      const seen = await this.look(stream);
      return holds(seen) ? seen : undefined;
    });
  }
}
