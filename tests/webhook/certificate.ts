import { mkdtemp, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A certificate for a host name or an address, signed by itself, made by openssl. */
export async function selfSigned(host: string): Promise<{ key: string; cert: string; remove(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'decnet-certificate-'));
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const made = Bun.spawn(
    [
      ...['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', cert],
      ...['-subj', `/CN=${host}`, '-addext', `subjectAltName=${isIP(host) === 0 ? 'DNS' : 'IP'}:${host}`],
    ],
    { stdout: 'ignore', stderr: 'pipe' },
  );
  if ((await made.exited) !== 0) throw new Error(`openssl: ${await new Response(made.stderr).text()}`);
  return {
    key: await Bun.file(key).text(),
    cert: await Bun.file(cert).text(),
    remove: () => rm(folder, { recursive: true }),
  };
}
