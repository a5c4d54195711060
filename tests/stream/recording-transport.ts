import { sseFraming } from '../../src/stream/sse-framing.ts';
import type { Transport } from '../../src/stream/transport.ts';

export interface PaperFrame {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: Record<string, unknown>;
}

/** A transport that keeps what a connection writes. It takes everything unless it is told to be full. */
export class RecordingTransport implements Transport {
  readonly framing = sseFraming;
  text = '';
  writable = true;
  ended: 'end' | 'abort' | undefined;
  onDrain = () => {};

  write(chunks: readonly Uint8Array[]): void {
    for (const chunk of chunks) this.text += new TextDecoder().decode(chunk);
  }

  end(last: Uint8Array, onFinished: () => void): void {
    this.text += new TextDecoder().decode(last);
    this.ended ??= 'end';
    onFinished();
  }

  abort(): void {
    this.ended ??= 'abort';
  }

  drain(): void {
    this.writable = true;
    this.onDrain();
  }

  get frames(): PaperFrame[] {
    return this.text.split('\n\n').flatMap((block) => {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1];
      const data = field('data');
      if (data === undefined) return [];
      return [{ id: field('id'), event: field('event') ?? 'message', data: JSON.parse(data) }];
    });
  }
}
