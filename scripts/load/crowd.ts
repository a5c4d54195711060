import { join } from 'node:path';
import type { Bench } from './bench.ts';
import { Child } from './child.ts';
import type { VisitCommand, VisitReport } from './protocol.ts';
import type { Row, Table } from './table.ts';

/**
 * Whether everything else goes on while a crowd is served: requests for health and sign-ins meanwhile, and how often one publisher, who
 * waits for each acknowledgement, gets one.
 */
export async function crowd(bench: Bench): Promise<Table> {
  const { clients, rate, seconds } = bench.options;
  const visitors = new Child<VisitCommand, VisitReport>(join(import.meta.dir, 'visitors.ts'));
  try {
    await bench.connect(clients);
    await bench.deliver(rate, 1); // The first second compiles.
    const rows: Row[] = [];
    for (const publishes of [false, true]) {
      const { url, token, username, password } = bench.plane;
      const visit: VisitCommand = { url, token, username, password, topic: bench.topic, seconds, publishes };
      const visiting = visitors.ask(visit);
      // The publisher of the visitors comes on top of the steady rate.
      const [delivery, report] = await Promise.all([bench.deliver(rate, seconds, visiting), visiting]);
      const { latency } = delivery.report;
      rows.push({
        clients,
        'events/s': rate,
        'acknowledgements/s': report.published / seconds,
        'ack p50 ms': report.publish.p50,
        'ack p99 ms': report.publish.p99,
        'healthz p50 ms': report.health.p50,
        'healthz p99 ms': report.health.p99,
        'login p50 ms': report.login.p50,
        'login p99 ms': report.login.p99,
        refused: report.refused,
        'delivery p50 ms': latency.p50,
        'delivery p99 ms': latency.p99,
        'server CPU µs/delivery': delivery.serverMicros,
        'server cores': delivery.cores.server,
        'client cores': delivery.cores.clients,
        'other cores': delivery.cores.others,
        lost: clients * (delivery.published + report.published) - delivery.report.delivered + delivery.report.repeated,
      });
    }
    await bench.disconnect();
    return { title: 'Everything else while a crowd is served', rows };
  } finally {
    await visitors.stop();
  }
}
