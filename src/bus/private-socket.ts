import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

// sockaddr_un.sun_path holds 108 bytes on Linux and 104 on macOS, with the closing NUL.
const MAX_SOCKET_PATH = 100;

const fits = (path: string) => Buffer.byteLength(path) <= MAX_SOCKET_PATH;

/**
 * The path of a UNIX socket that belongs to a folder: always the same one, short enough for the kernel, and where no other
 * user can put one first. It lies in the folder itself, or under the temporary folder when that path is too long.
 * @param folder absolute, without symbolic links; of this user alone
 * @throws when somebody else has taken the place under the temporary folder
 */
export function privateSocket(folder: string): string {
  const socket = join(folder, 'redis.sock');
  if (fits(socket)) return socket;
  const name = `${createHash('sha256').update(folder).digest('hex').slice(0, 16)}.sock`;
  const { uid } = userInfo();
  const places = [tmpdir(), '/tmp'].map((temporary) => join(temporary, `decnet-${uid}`));
  const place = places.find((candidate) => fits(join(candidate, name)));
  if (place === undefined) throw new Error('no path for a UNIX socket is short enough: set a shorter DECNET_DATA_DIR');
  mkdirSync(place, { recursive: true, mode: 0o700 });
  // The link itself is looked at: anybody may create names there, and one could lead into a folder of theirs.
  const found = lstatSync(place);
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o077) !== 0) {
    throw new Error(`${place} is not a folder of this user alone: remove it, or set a shorter DECNET_DATA_DIR`);
  }
  return join(place, name);
}
