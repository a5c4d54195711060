/** The process that receives webhooks: it counts them, and refuses them while it is told to. */
import { answerCommands } from './child.ts';
import type { ReceiverCommand, ReceiverReport } from './protocol.ts';

const connections = new Set<number>();
let requests = 0;
let isRefusing = false;

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  async fetch(request) {
    await request.arrayBuffer();
    connections.add(server.requestIP(request)?.port ?? 0);
    if (isRefusing) return new Response('', { status: 503 });
    requests += 1;
    return new Response('ok');
  },
});

answerCommands<ReceiverCommand, ReceiverReport>(async ({ refuse }) => {
  isRefusing = refuse;
  return { port: server.port ?? 0, requests, connections: connections.size };
});
