/**
 * How far this device's clock is from the server's, learnt from the `Date` headers of answers. They count whole seconds,
 * so each answer narrows the difference to a range; while no difference at all is in that range, none is assumed.
 */
export class ServerClock {
  #atLeast = Number.NEGATIVE_INFINITY;
  #atMost = Number.POSITIVE_INFINITY;

  /**
   * Learns from one answer.
   * @param date the answer's `Date` header; `null` or an unreadable one teaches nothing
   * @param sentAt when the request left, in milliseconds of this device's clock
   * @param receivedAt when the answer was there, likewise
   */
  observe(date: string | null, sentAt: number, receivedAt: number): void {
    const second = Date.parse(date ?? '');
    if (Number.isNaN(second)) return;
    this.#atLeast = Math.max(this.#atLeast, sentAt - (second + 1000));
    this.#atMost = Math.min(this.#atMost, receivedAt - second);
  }

  /**
   * @param deviceTime milliseconds of this device's clock
   * @returns the server's time at that moment, in milliseconds
   */
  toServer(deviceTime: number): number {
    const ahead = Math.max(this.#atLeast, Math.min(this.#atMost, 0));
    return deviceTime - ahead;
  }
}
