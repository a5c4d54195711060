/**
 * How long a mutation takes from the request until a stream tells that it is applied, against a running server:
 * `DECNET_USER=admin DECNET_PASSWORD=… bun scripts/measure-pipeline.ts [url] [count]`. At most 1,000 mutations, one at a time.
 */
const [url = 'http://127.0.0.1:8000', count = '100'] = process.argv.slice(2);
const api = `${url}/api/v1`;
const headers = { 'content-type': 'application/json', authorization: '' };

async function ask(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
  const answer = await fetch(`${api}${path}`, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const said: unknown = await answer.json();
  if (!answer.ok || typeof said !== 'object' || said === null) throw new Error(`${method} ${path}: ${answer.status}`);
  return { ...said };
}

const { DECNET_USER: username = 'admin', DECNET_PASSWORD: password = '' } = process.env;
const { access_token } = await ask('POST', '/auth/login', { username, password });
headers.authorization = `Bearer ${access_token}`;
const { id } = await ask('POST', '/topologies/blank', { name: `measured-${crypto.randomUUID()}` });
await ask('POST', `/topologies/${id}/deploy`);

/** Called with each frame of the topology's stream. */
let onFrame: (frame: string) => void = () => {};

async function read(stream: ReadableStream<Uint8Array>): Promise<void> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    const frames = text.split('\n\n');
    text = frames.pop() ?? '';
    for (const frame of frames) onFrame(frame);
  }
}

/** Resolves with the first frame from now on that has the text. */
function told(text: string): Promise<void> {
  return new Promise((resolve) => {
    onFrame = (frame) => {
      if (frame.includes(text)) resolve();
    };
  });
}

const { body } = await fetch(`${api}/topologies/${id}/events`, { headers });
if (body === null) throw new Error('the stream has no body');
const active = told('"active"'); // In the snapshot, or as an event.
void read(body);
await active;

const took: number[] = [];
for (let n = 0; n < Math.min(Number(count), 1000); n += 1) {
  const applied = told('event: mutation.applied');
  const start = performance.now();
  await ask('POST', `/topologies/${id}/mutations`, { op: 'update_decky', payload: { decky: 'dmz-gateway', x: n } });
  await applied;
  took.push(performance.now() - start);
}
took.sort((a, b) => a - b);
const at = (share: number) => took[Math.min(took.length - 1, Math.floor(took.length * share))]?.toFixed(1);
console.log(`request to applied on the stream, ${took.length} mutations: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`);
process.exit(0);

// A module, for the sake of `await`.
export {};
