import type { DatabaseConnection, Driver } from 'kysely';
import { AppError } from '../errors.ts';

/**
 * Refuses text that the engines would treat each in its own way: PostgreSQL has no NUL, and half of a surrogate pair
 * silently becomes U+FFFD, so that what is read is not what was written and two names become one. Clients put anything
 * into names and paths; here is the one place that all of it passes. JSON text is not affected: it escapes both.
 * @throws {AppError} `invalid`, from the queries
 */
export function storableText(driver: Driver): Driver {
  const acquire = driver.acquireConnection.bind(driver);
  const checked = new WeakSet<DatabaseConnection>();
  driver.acquireConnection = async (options) => {
    const connection = await acquire(options);
    if (checked.has(connection)) return connection;
    checked.add(connection);
    const execute = connection.executeQuery.bind(connection);
    connection.executeQuery = async (query, ...rest) => {
      query.parameters.forEach(assertStorable);
      return execute(query, ...rest);
    };
    return connection;
  };
  return driver;
}

function assertStorable(value: unknown): void {
  if (typeof value !== 'string') return;
  if (value.includes('\0')) throw new AppError('invalid', 'Text must not hold NUL (U+0000)');
  if (!value.isWellFormed())
    throw new AppError('invalid', 'Text must be well-formed Unicode: no half of a surrogate pair');
}
