import { join, resolve } from 'node:path';
import { type ChildNode, spawnNode } from '../support/child-node.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/until.ts';
import type { Sabotage } from './server.ts';

const SERVER = resolve(import.meta.dir, 'server.ts');
/** How long a node may take to start, whatever Redis and the database are doing. */
const START_LIMIT_MS = 60_000;

export interface FleetOptions {
  readonly nodes: number;
  readonly env: (redisUrl: string, busSocket: string) => Record<string, string>;
  /** Where the nodes' bus sockets are. */
  readonly folder: string;
  /** Path of the socket of Redis. */
  readonly redis: string;
  /** A protection that all nodes do without. */
  readonly without?: Sabotage | undefined;
  /** Gets what the nodes write to their logs. */
  readonly onLog?: ((node: string, text: string) => void) | undefined;
}

/** A node, and its own line to Redis, which can be broken. */
export interface Node {
  readonly name: string;
  readonly link: TcpProxy;
  /** Path of its bus socket. */
  readonly busSocket: string;
  child: ChildNode | undefined;
}

/** The nodes as processes of their own, each started again when it ends. */
export class Fleet {
  readonly nodes: Node[] = [];
  /** What no node may do, in words. */
  readonly problems: string[] = [];
  readonly #options: FleetOptions;
  #stopped = false;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    for (let number = 1; number <= this.#options.nodes; number += 1) {
      const link = await startTcpProxy({ path: this.#options.redis });
      const busSocket = join(this.#options.folder, `node-${number}.sock`);
      this.nodes.push({ name: `node ${number}`, link, busSocket, child: undefined });
    }
    await Promise.all(this.nodes.map((node) => this.launch(node)));
  }

  /** The nodes that listen, stopped ones included: nobody can tell. */
  get urls(): readonly string[] {
    return this.nodes.flatMap(({ child }) => (child === undefined ? [] : [child.url]));
  }

  /** SIGKILL; it stays down until {@link launch}. */
  async kill(node: Node): Promise<void> {
    const { child } = node;
    node.child = undefined;
    await child?.kill();
  }

  /** SIGTERM, as in a deployment; it stays down until {@link launch}. */
  async end(node: Node): Promise<void> {
    const { child } = node;
    node.child = undefined;
    const code = await child?.stop();
    if (code !== undefined && code !== 0) this.problems.push(`${node.name} was told to stop and ended with ${code}`);
  }

  /** Starts it, again and again as a supervisor would while the database is away. */
  async launch(node: Node): Promise<void> {
    const { env, without, onLog } = this.#options;
    const program = [SERVER, ...(without === undefined ? [] : [`--without=${without}`])];
    const onOutput = (text: string) => onLog?.(node.name, text);
    const start = (): Promise<ChildNode | undefined> =>
      spawnNode(env(`redis://127.0.0.1:${node.link.port}`, node.busSocket), program, onOutput).catch(() => undefined);
    const child = await until<ChildNode | 'nobody' | undefined>(
      `${node.name} to start`,
      () => (this.#stopped ? 'nobody' : start()),
      START_LIMIT_MS,
    );
    if (child === 'nobody') return;
    if (this.#stopped) return child.kill();
    node.child = child;
    void child.exited.then((code) => {
      if (node.child !== child || this.#stopped) return;
      this.problems.push(`${node.name} ended by itself (${code})`);
      node.child = undefined;
      void this.launch(node);
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.nodes.map((node) => this.kill(node)));
    await Promise.all(this.nodes.map(({ link }) => link.cut().catch(() => undefined)));
  }
}
