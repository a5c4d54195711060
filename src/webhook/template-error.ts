/** Where in a template; counted from one, undefined where a failure has no place in it. */
export interface Place {
  readonly line: number | undefined;
  readonly column: number | undefined;
}

/** A template that cannot be used, or that made no JSON of an event. The message names the place, as an editor counts. */
export class TemplateError extends Error implements Place {
  readonly line: number | undefined;
  readonly column: number | undefined;
  /** It took too long, perhaps because the machine is busy. */
  readonly isPassing: boolean;

  constructor(reason: string, { line, column }: Partial<Place> = {}, isPassing = false) {
    super(line === undefined ? `template: ${reason}` : `template, line ${line}, column ${column}: ${reason}`);
    this.name = 'TemplateError';
    this.line = line;
    this.column = column;
    this.isPassing = isPassing;
    this.reason = reason;
  }

  /** Without the place. */
  readonly reason: string;
}
