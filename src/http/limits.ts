/** The largest body of a request, and message of a WebSocket, in bytes: DECNET's bus takes 1 MiB of event (contract §2.2). */
export const MAX_BODY_BYTES = 2 * 1024 * 1024;
