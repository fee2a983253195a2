import { STAGES } from "../conformance/stages.ts";
import { scattered, vendorCorridor } from "../conformance/vendor-corridor.ts";
import { reportOf } from "../corridor.ts";
import { printTable } from "./table.ts";

/*
 * Requests that reach a vendor for a burst of joining nodes, counted at a fake of its API that the
 * product's own client speaks to over HTTP, until the list is read back. Beside them the two usual
 * patterns: one write for each node, and a read and a write for each node.
 */

const BURSTS = [1, 50, 1_000];
const RUNS_MAX = 20;

interface Count {
  readonly reads: number;
  readonly writes: number;
  readonly there: number;
  readonly heartbeat: number;
  readonly state: string;
}

async function countFor(kind: string, nodes: number): Promise<Count> {
  const make = STAGES[kind];
  if (make === undefined) throw new Error(`Cannot find a stage of ${kind}`);
  // Quotas that an account can have raised are raised; those that nobody can raise are not.
  const stage = await make({ quota: 1_000 });
  try {
    const room = vendorCorridor([stage]);
    const joined = scattered(nodes);
    let report = reportOf(await room.deliver(joined));
    for (let run = 1; report.reason === "batch" && run < RUNS_MAX; run += 1) {
      report = reportOf(await room.run("webhook"));
    }
    const reads = stage.calls("read");
    const writes = stage.calls("add") + stage.calls("remove");
    await room.deliver(joined);
    const all = stage.calls("read") + stage.calls("add") + stage.calls("remove");
    const { reason, state } = report;
    const there = nodes - report.add.length;
    return { reads, writes, there, heartbeat: all - reads - writes, state: reason ?? state };
  } finally {
    await stage.close();
  }
}

const rows = [
  [
    "kind",
    "nodes",
    "listed",
    "reads",
    "writes",
    "heartbeat",
    "a write each",
    "read + write each",
    "state",
  ],
];
for (const kind of Object.keys(STAGES)) {
  for (const nodes of BURSTS) {
    const { reads, writes, there, heartbeat, state } = await countFor(kind, nodes);
    const mine = reads + writes;
    const beside = (theirs: number) => `${theirs} (${(theirs / mine).toFixed(1)} x)`;
    const counts = [nodes, there, reads, writes, heartbeat].map(String);
    rows.push([kind, ...counts, beside(nodes), beside(2 * nodes), state]);
  }
}
printTable("Requests to the vendor until a burst of nodes is read back", rows);
