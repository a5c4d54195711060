/**
 * The result of something that may never come.
 * @param ms milliseconds to wait for it
 * @param what is waited for, for the message
 * @throws when it has not come by then; what it brings later is not looked at
 */
export async function within<T>(result: Promise<T>, ms: number, what: string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${what}: no answer within ${ms} ms`)), ms);
  try {
    return await Promise.race([result, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
