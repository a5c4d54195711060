/** How a command can end. Code, `--help` and the README read this one table. */
export const EXIT_CODES = {
  ok: { code: 0, when: 'done; `doctor`: nothing to do' },
  failed: { code: 1, when: 'the server refused or could not; `doctor`: there are findings' },
  unreachable: { code: 2, when: 'nobody answers; `doctor`: it could not look at everything' },
  unauthenticated: { code: 3, when: 'nobody is signed in, or the session has ended: `login`' },
  forbidden: { code: 4, when: 'this user or account may not do that' },
  reset: { code: 5, when: '`tail --strict`: history behind the place or time asked for is gone' },
  partly: { code: 6, when: '`publish --stdin`: some events were refused, the others are published' },
  usage: { code: 64, when: 'the command line, a file or an environment variable cannot be used' },
  internal: { code: 70, when: 'a mistake of this program' },
  interrupted: { code: 130, when: 'ended by Ctrl-C or SIGTERM' },
} as const;

export type ExitName = keyof typeof EXIT_CODES;

/** The table as `--help` shows it. */
export function exitCodesHelp(): string {
  const lines = Object.values(EXIT_CODES).map(({ code, when }) => `  ${String(code).padStart(3)}  ${when}`);
  return `\nExit codes:\n${lines.join('\n')}`;
}
