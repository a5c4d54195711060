const ANSWER_LIMIT_MS = 120_000;

/** A process of the bench that answers one command after the other. */
export class Child<Command, Answer> {
  readonly #process: Bun.Subprocess;
  #pending: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;

  /** @param script path of a module that calls {@link answerCommands} */
  constructor(script: string) {
    this.#process = Bun.spawn([process.execPath, script], {
      stdin: 'ignore',
      stdout: 'inherit',
      stderr: 'inherit',
      ipc: (message) => this.#onMessage(String(message)),
      onExit: (_, code) => this.#pending?.reject(new Error(`${script} ended by itself (exit code ${code})`)),
    });
  }

  get pid(): number {
    return this.#process.pid;
  }

  /**
   * Sends a command and waits for its answer. One at a time.
   * @throws what the process failed with, or that it has ended or does not answer
   */
  async ask(command: Command): Promise<Answer> {
    const answer = new Promise<Answer>((resolve, reject) => {
      this.#pending = { resolve, reject };
    });
    const timer = setTimeout(() => this.#pending?.reject(new Error('no answer in time')), ANSWER_LIMIT_MS);
    try {
      this.#process.send(JSON.stringify(command));
      return await answer;
    } finally {
      clearTimeout(timer);
      this.#pending = undefined;
    }
  }

  async stop(): Promise<void> {
    this.#process.kill('SIGKILL'); // It holds nothing that would have to be saved.
    await this.#process.exited;
  }

  #onMessage(text: string): void {
    const message: { answer: Answer } | { failed: string } = JSON.parse(text);
    if ('failed' in message) this.#pending?.reject(new Error(message.failed));
    else this.#pending?.resolve(message.answer);
  }
}

/** The other side of {@link Child}: answers the parent's commands, and ends when the parent has. */
export function answerCommands<Command, Answer>(answer: (command: Command) => Promise<Answer>): void {
  process.on('disconnect', () => process.exit(0));
  // Ctrl-C reaches the whole group; the parent ends this process when it has stopped everything in order.
  process.on('SIGINT', () => {});
  process.on('message', (message) => {
    const command: Command = JSON.parse(String(message));
    answer(command).then(
      (value) => process.send?.(JSON.stringify({ answer: value })),
      (error: unknown) => process.send?.(JSON.stringify({ failed: String(error) })),
    );
  });
}
