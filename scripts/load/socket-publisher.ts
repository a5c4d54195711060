/** The process that publishes over one WebSocket, as many messages under way as it is told. */
import { answerCommands } from './child.ts';
import { Latencies } from './latencies.ts';
import type { SocketCommand, SocketReport } from './protocol.ts';

const WARM_UP_MS = 300;
const LIMIT_MS = 20_000;

async function publish({ url, token, event, events, window, seconds }: SocketCommand): Promise<SocketReport> {
  const address = `${url.replace('http', 'ws')}/api/v1/ws`;
  const socket = new WebSocket(address, { headers: { authorization: `Bearer ${token}` } });
  const message =
    events === 1
      ? `{"op":"publish","event":${event}}`
      : `{"op":"publish","events":[${Array.from({ length: events }, () => event).join()}]}`;
  const [signedIn, done] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const fail = (reason: string) => {
    signedIn.reject(new Error(reason));
    done.reject(new Error(reason));
  };
  /** When each message that has no answer yet was sent: answers come in the order of their questions. */
  const sentAt: number[] = [];
  let latencies = new Latencies();
  let [published, isOver] = [0, false];
  const fill = () => {
    for (; !isOver && sentAt.length < window; sentAt.push(performance.now())) socket.send(message);
    if (isOver && sentAt.length === 0) done.resolve();
  };
  socket.onmessage = ({ data }) => {
    const text = String(data);
    if (text.startsWith('{"op":"published"') && !text.includes('"error"')) {
      latencies.add(performance.now() - (sentAt.shift() ?? 0));
      published += events;
      fill();
    } else if (text.startsWith('{"op":"auth"')) signedIn.resolve();
    else if (!text.startsWith('{"op":"hello"')) fail(`the server says ${text.slice(0, 200)}`);
  };
  socket.onclose = ({ code, reason }) => fail(`the socket was closed: ${code} ${reason}`);
  const timer = setTimeout(() => fail('it took too long'), LIMIT_MS + seconds * 1000);
  try {
    await signedIn.promise;
    fill();
    await Bun.sleep(WARM_UP_MS);
    const [before, startedAt] = [published, performance.now()];
    latencies = new Latencies();
    await Bun.sleep(seconds * 1000);
    const [measured, spanMs] = [published - before, performance.now() - startedAt];
    const latency = { p50: latencies.percentile(0.5), p99: latencies.percentile(0.99), max: latencies.max };
    isOver = true;
    fill();
    await done.promise;
    return { published: measured, spanMs, latency };
  } finally {
    clearTimeout(timer);
    socket.onclose = null;
    socket.close();
  }
}

answerCommands(publish);
