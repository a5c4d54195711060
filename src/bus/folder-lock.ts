import { Database, SQLiteError } from 'bun:sqlite';
import { join } from 'node:path';

/** Kept from the garbage collector: it would close the file, and the lock would go with it. */
const held = new Set<Database>();

/**
 * Makes this process the only owner of a folder, against others and against itself. The lock is the kernel's, on an empty
 * file: it ends with the process however that ends, no child inherits it, and nothing is left to be cleaned up.
 * @returns releases it; `undefined` when somebody else owns the folder
 * @throws when the file cannot be opened or the file system knows no locks
 */
export function lockFolder(folder: string): (() => void) | undefined {
  // Bun offers no file locks of its own; SQLite's are POSIX locks, on Linux and macOS alike.
  const file = new Database(join(folder, 'owner.lock'));
  try {
    file.run('PRAGMA journal_mode = MEMORY'); // No journal file beside it.
    // IMMEDIATE, not EXCLUSIVE: two that try at the same instant cannot keep each other out.
    file.run('BEGIN IMMEDIATE');
  } catch (error) {
    file.close();
    if (error instanceof SQLiteError && error.code === 'SQLITE_BUSY') return undefined;
    throw error;
  }
  held.add(file);
  return () => {
    if (held.delete(file)) file.close();
  };
}
