#!/usr/bin/env bun
import { watchOutput } from './output.ts';
import { run } from './program.ts';

watchOutput();
process.exit(await run(process.argv.slice(2)));
