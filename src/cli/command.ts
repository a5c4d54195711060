import { Command } from '@commander-js/extra-typings';

/** A command of the program; its file makes it, and `program.ts` lists it. Nothing else knows which there are. */
export type MakeCommand = () => { readonly name: () => string };

/** A command with the options that all have. */
export function command(name: string, description: string) {
  return new Command(name)
    .description(description)
    .option('--url <url>', 'the server; otherwise DECNET_URL, or the newest sign-in')
    .option('--token-file <file>', 'a file that holds the token; otherwise DECNET_TOKEN, or the sign-in at this server')
    .option('--json', 'JSON, for scripts');
}
