/** Severities in rising order. */
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Values that a log line may carry beside its message. */
export type LogFields = Record<string, string | number | boolean | null | undefined>;

/** Structured log: one JSON object a line. Never hand it a password, a token, a ticket or a connection URL. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

// A second line of defence for messages of libraries: `redis://user:secret@host`, `?token=…`, `Bearer …`, bare JWTs, secrets of service accounts.
const SECRETS: readonly [RegExp, string][] = [
  [/\/\/[^/\s]*@/g, '//***@'],
  [/([?&](?:token|ticket)=)[^&\s"]+/g, '$1***'],
  [/(Bearer )[^\s"]+/g, '$1***'],
  [/\bdls_[\w-]{8,}/g, 'dls_***'],
  [/\beyJ[\w-]+\.[\w-]+\.[\w-]+/g, '***'],
];

/** Replaces what looks like a credential by `***`. */
export function redact(text: string): string {
  return SECRETS.reduce((redacted, [pattern, replacement]) => redacted.replace(pattern, replacement), text);
}

/**
 * @param level the lowest severity that is written
 * @param write receives one complete line; standard output by default
 */
export function createLog(level: LogLevel, write: (line: string) => void = (line) => console.log(line)): Log {
  const lowest = LOG_LEVELS.indexOf(level);
  const at =
    (severity: LogLevel) =>
    (message: string, fields: LogFields = {}) => {
      if (LOG_LEVELS.indexOf(severity) < lowest) return;
      const line = { ts: new Date().toISOString(), level: severity, message, ...fields };
      // String by string: redacting the finished line could cut through its JSON.
      write(JSON.stringify(line, (_, value: unknown) => (typeof value === 'string' ? redact(value) : value)));
    };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
