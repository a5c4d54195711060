import { pendingTopology, type World } from '../world.ts';

/** One call of an operation, and the status that it is answered with. */
export interface Call {
  readonly expect: number;
  /** By name; a parameter that is left out is one that nothing has. */
  readonly params?: Params;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** By default the admin's. */
  readonly token?: string;
  /** The path without its last slash. */
  readonly isWithoutSlash?: boolean;
}

/** The arguments of a path by their names. */
export type Params = Readonly<Record<string, string>>;
export type Calls = (world: World) => readonly Call[] | Promise<readonly Call[]>;

export const NOWHERE = '00000000-0000-4000-8000-000000000000';
export const nothing: Call = { expect: 404 };
export const badPage: Call = { query: 'limit=0', expect: 422 };
export const only =
  (expect: number, call: Omit<Call, 'expect'> = {}): Calls =>
  () => [{ ...call, expect }];

/** Calls that need a pending topology, given its id and the whole of it. */
export const onPending =
  (
    calls: (id: string, detail: Awaited<ReturnType<typeof pendingTopology>>, world: World) => Promise<readonly Call[]>,
  ): Calls =>
  async (world) => {
    const detail = await pendingTopology(world);
    return calls(detail.topology.id, detail, world);
  };
